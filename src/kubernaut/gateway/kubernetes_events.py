"""Events of Kubernetes as alerts: posted one by one, or watched. Pure.

An Event is an alert that is called like its reason and is about its `involvedObject`. Kubernetes counts repeats on the
same Event, so that its first time tells one series from the next.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from kubernaut.api.meta import ObjectMeta, Time, Wire
from kubernaut.api.signals import GROUP
from kubernaut.gateway import json_fields
from kubernaut.gateway.alertmanager import UNNAMED, Adjustment, Alert, AlertStatus
from kubernaut.gateway.json_fields import FIRST_TIME, NULL
from kubernaut.gateway.labels import NamedObject, Subject
from kubernaut.gateway.text_limits import truncate_labels
from kubernaut.ops.json_faults import json_fault

SOURCE = "kubernetes-events"
TYPES = ("Warning", "Error")
"""Types of Events that are alerts."""


class InvolvedObject(Wire, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class _Source(Wire, frozen=True):
    component: str = ""


class CoreEvent(Wire, frozen=True):
    """An Event of core/v1, as far as it is read."""

    metadata: ObjectMeta = ObjectMeta()
    involved_object: InvolvedObject = InvolvedObject()
    reason: str = ""
    message: str = ""
    type: str = ""
    first_timestamp: Time | None = None
    event_time: Time | None = None
    source: _Source = _Source()
    reporting_component: str = ""


class PostedEvent(CoreEvent, frozen=True):
    """An Event that a sender posted, and what of it could not be taken as it came."""

    adjustments: tuple[Adjustment, ...] = ()


class _Posted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An Event of core/v1, or of events.k8s.io/v1, which calls some fields otherwise. Anything may be null or odd."""

    metadata: msgspec.Raw = NULL
    involved_object: msgspec.Raw = NULL
    regarding: msgspec.Raw = NULL
    reason: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    note: msgspec.Raw = NULL
    type: msgspec.Raw = NULL
    first_timestamp: msgspec.Raw = NULL
    deprecated_first_timestamp: msgspec.Raw = NULL
    event_time: msgspec.Raw = NULL
    source: msgspec.Raw = NULL
    deprecated_source: msgspec.Raw = NULL
    reporting_component: msgspec.Raw = NULL
    reporting_controller: msgspec.Raw = NULL


class _Reference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: msgspec.Raw = NULL
    kind: msgspec.Raw = NULL
    name: msgspec.Raw = NULL
    namespace: msgspec.Raw = NULL


class _Reporter(msgspec.Struct, frozen=True, kw_only=True):
    component: msgspec.Raw = NULL


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    creation_timestamp: msgspec.Raw = NULL
    namespace: msgspec.Raw = NULL


_decode_posted = msgspec.json.Decoder(_Posted).decode
_decode_reference = msgspec.json.Decoder(_Reference | None).decode
_decode_reporter = msgspec.json.Decoder(_Reporter | None).decode
_decode_metadata = msgspec.json.Decoder(_Metadata | None).decode


class InvalidEvent(ValueError):
    """The body is no Event."""


def decode(body: bytes) -> PostedEvent:
    """The Event in a request's body. Raises InvalidEvent when it is none, or names no object."""
    try:
        posted = json_fields.decode(body, _decode_posted)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"not an Event: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(f"the body is not JSON: {json_fault(error)}") from error
    involved = _involved_object(posted)
    if not involved.kind or not involved.name:
        raise InvalidEvent("no object is named: an Event has involvedObject (or regarding) with kind and name")
    metadata = json_fields.part(posted.metadata, _decode_metadata) or _Metadata()
    reporter = [json_fields.part(raw, _decode_reporter) for raw in (posted.source, posted.deprecated_source)]
    times = {
        "firstTimestamp": posted.first_timestamp,
        "deprecatedFirstTimestamp": posted.deprecated_first_timestamp,
        "eventTime": posted.event_time,
        "metadata.creationTimestamp": metadata.creation_timestamp,
    }
    began, adjustment = _first_time(times)
    return PostedEvent(
        metadata=ObjectMeta(namespace=json_fields.text(metadata.namespace)),
        involved_object=involved,
        reason=json_fields.text(posted.reason),
        message=json_fields.text(posted.message) or json_fields.text(posted.note),
        type=json_fields.text(posted.type),
        first_timestamp=began,
        source=_Source(component=next((json_fields.text(each.component) for each in reporter if each), "")),
        reporting_component=json_fields.text(posted.reporting_component)
        or json_fields.text(posted.reporting_controller),
        adjustments=(adjustment,) if adjustment else (),
    )


def _involved_object(posted: _Posted) -> InvolvedObject:
    for raw in (posted.involved_object, posted.regarding):
        named = json_fields.part(raw, _decode_reference) or _Reference()
        involved = InvolvedObject(
            api_version=json_fields.text(named.api_version),
            kind=json_fields.text(named.kind),
            name=json_fields.text(named.name),
            namespace=json_fields.text(named.namespace),
        )
        if involved.kind and involved.name:
            return involved
    return InvolvedObject()


def _first_time(times: Mapping[str, msgspec.Raw]) -> tuple[datetime | None, Adjustment | None]:
    """The first of the times that is known, else what is wrong with the first that is given."""
    faults = []
    for field, raw in times.items():
        found, adjustment = json_fields.time(field, raw)
        if found:
            return found, adjustment
        if adjustment:
            faults.append(adjustment)
    return None, faults[0] if faults else None


def rejection_of(event: CoreEvent, types: Collection[str] = TYPES) -> str:
    """Why an Event is no alert; empty when it is one."""
    if event.type.strip().capitalize() not in types:
        return f"Events of type {event.type[:40]!r} are no alerts; those of {', '.join(types)} are"
    if event.involved_object.api_version.partition("/")[0] == GROUP:
        return "Events about our own objects are no alerts"
    return ""


def alert_of(event: CoreEvent) -> Alert:
    about = event.involved_object
    labels = {
        "alertname": event.reason or UNNAMED,
        "severity": event.type,
        "namespace": about.namespace,
        "kind": about.kind,
        "name": about.name,
        "component": event.reporting_component or event.source.component,
    }
    return Alert(
        status=AlertStatus.FIRING,
        labels=truncate_labels({name: value.replace("\0", "\ufffd") for name, value in labels.items() if value}),
        annotations=truncate_labels({"message": event.message.replace("\0", "\ufffd")}) if event.message else {},
        starts_at=began_at(event),
        adjustments=event.adjustments if isinstance(event, PostedEvent) else (),
    )


def began_at(event: CoreEvent) -> datetime | None:
    """When the series of an Event began, from 1970 on; None where nothing says so."""
    times = (event.first_timestamp, event.event_time, event.metadata.creation_timestamp)
    return next((max(time, FIRST_TIME) for time in times if time and time.year > 1), None)


def subject_of(event: CoreEvent) -> Subject:
    """The involved object, by its API version."""
    about = event.involved_object
    group, _, version = about.api_version.rpartition("/")
    kind = ".".join(part for part in (about.kind, version, group) if part)
    # An Event is in the namespace of its object, or in `default` when that has none.
    namespace = about.namespace or event.metadata.namespace
    named = NamedObject(label="involvedObject", kind=kind, name=about.name, namespace=namespace)
    return Subject(workloads=(named,), namespace=about.namespace)
