"""Events of Kubernetes as alerts: posted one by one, or watched. Pure.

An Event is an alert that is called like its reason and is about its `involvedObject`. Kubernetes counts repeats on the
same Event, so that its first time tells one series from the next.
"""

from collections.abc import Collection
from datetime import datetime

import msgspec

from kubernaut.api.meta import ObjectMeta, Time, Wire
from kubernaut.api.signals import GROUP
from kubernaut.gateway.alertmanager import UNNAMED, Alert, AlertStatus
from kubernaut.gateway.labels import NamedObject, Subject
from kubernaut.gateway.text_limits import truncate_labels

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


class InvalidEvent(ValueError):
    """The body is no Event."""


def decode(body: bytes) -> CoreEvent:
    """The Event in a request's body. Raises InvalidEvent."""
    try:
        event = msgspec.json.decode(body, type=CoreEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"not an Event of core/v1: {error}") from error
    if not event.involved_object.kind or not event.involved_object.name:
        raise InvalidEvent("involvedObject names no object")
    return event


def rejection_of(event: CoreEvent, types: Collection[str] = TYPES) -> str:
    """Why an Event is no alert; empty when it is one."""
    if event.type not in types:
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
    )


def began_at(event: CoreEvent) -> datetime | None:
    return event.first_timestamp or event.event_time or event.metadata.creation_timestamp


def subject_of(event: CoreEvent) -> Subject:
    """The involved object, by its API version."""
    about = event.involved_object
    group, _, version = about.api_version.rpartition("/")
    kind = ".".join(part for part in (about.kind, version, group) if part)
    named = NamedObject(label="involvedObject", kind=kind, name=about.name, namespace=about.namespace)
    return Subject(workloads=(named,), namespace=about.namespace)
