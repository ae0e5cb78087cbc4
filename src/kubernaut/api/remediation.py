"""The `RemediationRequest` object, as small as a parent of a signal can be.

The Go project's own CRD is larger; where it is installed, ours is not applied, and the fields below are read from it.
"""

from typing import Annotated

from msgspec import Meta

from kubernaut.api.meta import ObjectMeta, Time, Wire
from kubernaut.api.signals import API_VERSION, Fingerprint, Target

REMEDIATION_KIND = "RemediationRequest"
REMEDIATION_PLURAL = "remediationrequests"


class RemediationSpec(Wire, frozen=True):
    """What is to be remedied."""

    signal_name: Annotated[str, Meta(max_length=253)]
    signal_fingerprint: Fingerprint | None = None
    severity: str = ""
    signal_type: str = ""
    signal_source: str = ""
    target_type: str = ""
    target_resource: Target | None = None
    firing_time: Time | None = None
    received_time: Time | None = None


class Deduplication(Wire, frozen=True):
    """How often the alert has come in while this request was open."""

    occurrence_count: Annotated[int, Meta(ge=1)] = 1
    first_seen_at: Time | None = None
    last_seen_at: Time | None = None
    signal_names: Annotated[list[str], Meta(description="The first 50 alert names that were counted, in order.")] = []
    firing: Annotated[
        list[str],
        Meta(description="Alerts that no resolve notice has come for: hash of the labels/start/number/received."),
    ] = []
    overflow: Annotated[
        bool, Meta(description="More alerts fire than are known one by one; the count is a minimum.")
    ] = False


class RemediationStatus(Wire, frozen=True):
    overall_phase: str = ""
    recovery_attempts: Annotated[int, Meta(ge=0)] = 0
    failure_reason: str = ""
    start_time: Time | None = None
    deduplication: Deduplication | None = None


class RemediationRequest(Wire, frozen=True):
    """The parent of a signal; deleting it deletes the signal."""

    spec: RemediationSpec
    metadata: ObjectMeta = ObjectMeta()
    status: RemediationStatus = RemediationStatus()
    api_version: str = API_VERSION
    kind: str = REMEDIATION_KIND
