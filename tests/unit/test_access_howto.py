"""The services accept the how-to's configurations, and its actors are those that our services use."""

import re
from pathlib import Path
from typing import Any

import yaml

from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.gateway import audit_events as gateway_events
from kubernaut.gateway.config import GatewayConfig
from kubernaut.ops.http.auth_config import AuthMode, ReviewConfig
from kubernaut.ops.settings import load
from kubernaut.signalprocessing import audit_events as controller_events

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto-access.md"


def examples(name: str) -> list[list[dict[str, Any]]]:
    """The documents of each block that begins with the comment `# NAME`."""
    blocks = re.findall(rf"```yaml\n# {re.escape(name)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    return [list(yaml.safe_load_all(block)) for block in blocks]


def test_gateway_accepts_its_configurations():
    configs = [load(GatewayConfig, document) for (document,) in examples("gateway.yaml")]

    modes = [config.auth.mode_on(config.server.host) for config in configs]
    assert modes == [AuthMode.KUBERNETES, AuthMode.TOKENS]
    assert configs[0].server.tls.cert_file
    assert configs[0].datastorage.audit().client.token_file


def test_datastorage_accepts_its_configuration_with_the_actors_of_our_services():
    (((document),),) = examples("datastorage.yaml")
    config = load(DataStorageConfig, document)
    config.check_actors()

    written = {(actor.actor_ids, actor.event_categories) for actor in config.actors.values()}
    assert written == {((events.ACTOR,), (events.CATEGORY,)) for events in (gateway_events, controller_events)}


def test_role_grants_what_the_gateway_asks_for():
    ((_, role, _),) = examples("rbac.yaml")
    (rule,) = role["rules"]

    assert rule["verbs"] == [ReviewConfig().write_verb]
    assert rule["resources"] == [ReviewConfig().resource]


def test_alertmanager_sends_the_token_of_a_file():
    (((document),),) = examples("alertmanager.yaml")
    (webhook,) = document["receivers"][0]["webhook_configs"]

    assert webhook["http_config"]["authorization"]["credentials_file"]
