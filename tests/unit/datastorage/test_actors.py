"""A writer writes events of its own actors, and readers are other people."""

from datetime import UTC, datetime

import msgspec
import pytest

from kubernaut.api.problems import Slug
from kubernaut.datastorage import intake
from kubernaut.datastorage.actors import Actors
from kubernaut.datastorage.config import ActorConfig, DataStorageConfig, ServerConfig
from kubernaut.datastorage.intake import EventRejected
from kubernaut.datastorage.permissions import permission_for
from kubernaut.ops import settings
from kubernaut.ops.http.authentication import Identity, Permission
from support.ledger_events import a_wire_event

GATEWAY = Identity(name="system:serviceaccount:kubernaut:gateway")
ACTORS = Actors({GATEWAY.name: ActorConfig(actor_ids=("gateway-service",), event_categories=("gateway",))})
NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)


def entries(*changes):
    events = [a_wire_event(**{"actor_id": "gateway-service", "event_category": "gateway"} | each) for each in changes]
    return intake.admit(msgspec.json.encode(events), NOW, 1000)


def test_own_events_may_be_written():
    ACTORS.check(GATEWAY, entries({}, {}))


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"actor_id": "signalprocessing-controller"}, "actor_id", "signalprocessing-controller"),
        ({"actor_id": "Gateway-service"}, "actor_id", "Gateway-service"),
        ({"actor_id": "*"}, "actor_id", "*"),
        ({"actor_id": None, "event_category": "workflow"}, "actor_id", "workflow-service"),
        ({"event_category": "signalprocessing"}, "event_category", "signalprocessing"),
    ],
)
def test_event_of_another_actor_is_forbidden_by_index_and_actor(change, field, value):
    with pytest.raises(EventRejected, match=f"event at index 1: {GATEWAY.name} may not write .*'{value}'") as caught:
        ACTORS.check(GATEWAY, entries({}, change, {}))

    assert caught.value.slug is Slug.FORBIDDEN
    assert caught.value.index == 1
    assert list(caught.value.field_errors) == [f"[1].{field}"]


def test_lenient_batch_keeps_the_own_events():
    admitted = [*entries({}, {"actor_id": "other"}), EventRejected(Slug.VALIDATION, "bad", {})]

    checked = ACTORS.check_each(GATEWAY, admitted)

    assert checked[0] is admitted[0]
    assert isinstance(checked[1], EventRejected)
    assert checked[1].slug is Slug.FORBIDDEN
    assert checked[2] is admitted[2]


def test_identity_that_is_not_listed_may_write_nothing():
    with pytest.raises(EventRejected, match="eve may not write events: it is not listed under `actors`"):
        ACTORS.check(Identity(name="eve"), entries({}))


def test_star_allows_every_value():
    actors = Actors({"migration": ActorConfig(actor_ids=("*",))})

    actors.check(Identity(name="migration"), entries({"actor_id": "a"}, {"event_category": "workflow"}))


def test_without_authentication_everybody_writes_everything():
    Actors().check(None, entries({"actor_id": "other"}))


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "/livez", None),
        ("GET", "/metrics", None),
        ("GET", "/openapi.yaml", None),
        ("GET", "/api/v1/audit/events", Permission.READ),
        ("HEAD", "/api/v1/audit/events", Permission.READ),
        ("POST", "/api/v1/audit/events", Permission.WRITE),
        ("POST", "/api/v1/audit/events/batch", Permission.WRITE),
        ("POST", "/api/v1/audit/verify-chain", Permission.READ),
        ("GET", "/ledger/0/checkpoint", Permission.READ),
        ("GET", "/api/v1/audit/legal-hold", Permission.READ),
        ("POST", "/api/v1/audit/legal-hold", Permission.OPERATE),
        ("DELETE", "/api/v1/audit/legal-hold/x", Permission.OPERATE),
        ("POST", "/api/v1/audit/erasures", Permission.OPERATE),
        ("POST", "/unknown", Permission.WRITE),
    ],
)
def test_each_request_needs_its_permission(method, path, permission):
    assert permission_for(method, path) is permission


def load(**sections):
    return settings.load(DataStorageConfig, {"server": {"host": "0.0.0.0"}} | sections)  # noqa: S104


def test_actors_and_authentication_belong_together(tmp_path):
    actors = {"gateway": {"actorIds": ["gateway-service"], "eventCategories": ["gateway"]}}

    load(auth={"mode": "kubernetes"}, actors=actors).check_actors()
    DataStorageConfig(server=ServerConfig(host="127.0.0.1")).check_actors()
    with pytest.raises(settings.SettingsError, match=r"^actors: .*nobody may write"):
        load(auth={"mode": "kubernetes"}).check_actors()
    with pytest.raises(settings.SettingsError, match=r"^actors: .*'gateway'.*auth\.mode"):
        load(server={"host": "127.0.0.1"}, actors=actors).check_actors()
    with pytest.raises(settings.SettingsError, match=r"^auth\.mode: .*other machines"):
        load(actors=actors).check_actors()
    with pytest.raises(settings.SettingsError, match=r"^actors\.gateway\.actorIds: required"):
        load(actors={"gateway": {}})
