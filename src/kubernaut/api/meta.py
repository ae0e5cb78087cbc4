"""What every Kubernetes object carries, narrowed to what our services read."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The shape of our wire types: immutable, camelCase, absent rather than empty; unknown fields are ignored."""


Time = Annotated[datetime, Meta(tz=True)]
"""A point in time with its zone; we write UTC, to the microsecond."""


def is_truncated(time: datetime) -> bool:
    """Whether a typed client of Go, which keeps times in whole seconds, has written back a time of ours.

    One time of ours in a million ends on a whole second by chance, so nothing may be lost that depends on the answer.
    """
    return time.microsecond == 0


# gc=False: no reference cycle can arise, and the collector need not walk 10,000 cached pods.
class OwnerReference(Wire, frozen=True, gc=False):
    """Who owns an object; `controller` marks the one that manages it."""

    api_version: str
    kind: str
    name: str
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Wire, frozen=True, gc=False):
    """The metadata that our services read; the server's other fields are not kept in memory."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    generate_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: list[str] = []


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Wire, frozen=True):
    """One entry of `status.conditions`, as `kubectl wait --for=condition=…` reads it."""

    type: Annotated[str, Meta(max_length=316)]
    status: ConditionStatus
    reason: Annotated[str, Meta(min_length=1, max_length=1024)]
    message: Annotated[str, Meta(max_length=32768)]
    last_transition_time: Time
    observed_generation: Annotated[int, Meta(ge=0)] | None = None
