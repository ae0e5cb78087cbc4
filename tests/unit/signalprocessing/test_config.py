"""The controller's configuration file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.ops.settings import SettingsError, load
from kubernaut.signalprocessing.config import OnPolicyError, SignalProcessingConfig, listen_address

OF_THE_GO_PROJECT = """
controller: {metricsAddr: ":9090", healthProbeAddr: ":8081", leaderElection: false,
             leaderElectionId: signalprocessing.kubernaut.ai}
enrichment: {cacheTtl: 5m, timeout: 10s}
classifier: {regoConfigMapName: signalprocessing-policy, regoConfigMapKey: policy.rego, hotReloadInterval: 30s}
datastorage:
  url: http://data-storage-service:8080
  healthUrl: http://data-storage-service:8080/readyz
  timeout: 10s
  buffer: {bufferSize: 10000, batchSize: 100, flushInterval: 1s, maxRetries: 3}
logging: {level: INFO, format: json}
"""


def loaded(text: str) -> SignalProcessingConfig:
    return load(SignalProcessingConfig, yaml.safe_load(text))


@pytest.mark.requirement("DEFECT-15")
def test_file_of_the_go_project_is_understood():
    config = loaded(OF_THE_GO_PROJECT)

    assert (config.enrichment.cache_ttl, config.classifier.hot_reload_interval) == (300.0, 30.0)
    assert config.classifier.policy_dir == Path("/etc/signalprocessing/policies")


@pytest.mark.requirement("LESSON-15")
def test_defaults_are_those_of_the_documentation():
    config = loaded("{}")

    assert (config.controller.workers, config.controller.events) == (4, "outcome")
    assert config.classifier.on_policy_error is OnPolicyError.FALLBACK


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("enrichment: {timeout: 0s}", "enrichment.timeout"),
        ("enrichment: {cacheTtl: -1}", "enrichment.cacheTtl"),
        ("classifier: {onPolicyError: panic}", "classifier.onPolicyError"),
        ("classifier: {hotReloadInterval: 0s}", "classifier.hotReloadInterval"),
        ("controller: {workers: 0}", "controller.workers"),
        ("controller: {worker: 4}", "controller.worker"),
        ("controller: {events: some}", "controller.events"),
        ("controller: {renewDeadline: 15s}", "controller.renewDeadline"),
        ("controller: {retryPeriod: 10s}", "controller.retryPeriod"),
        ("controller: {retention: -1}", "controller.retention"),
        ("datastorage: {url: 'store:8080'}", "datastorage.url"),
        ("datastorage: {healthUrl: store}", "datastorage.healthUrl"),
    ],
)
@pytest.mark.requirement("LESSON-24")
def test_bad_value_or_key_is_named(text: str, key: str):
    with pytest.raises(SettingsError) as caught:
        loaded(text)

    assert caught.value.key == key


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (":9090", ("0.0.0.0", 9090)),  # noqa: S104
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:8081", ("::1", 8081)),
    ],
)
def test_addresses_are_written_as_in_go(address: str, where: tuple[str, Any]):
    assert (listen_address(address).host, listen_address(address).port) == where


@pytest.mark.parametrize("address", ["", "9090x", "host:", ":70000"])
def test_address_without_a_port_is_rejected(address: str):
    with pytest.raises(SettingsError, match="an address such as"):
        listen_address(address)


@pytest.mark.parametrize(
    ("text", "elects"),
    [
        ("{}", False),
        ("controller: {replicas: 2}", True),
        ("controller: {replicas: 2, leaderElection: false}", False),
        ("controller: {leaderElection: true}", True),
    ],
)
def test_more_than_one_replica_elects_a_leader_unless_told_otherwise(text: str, elects: bool):
    assert loaded(text).controller.elects_leader is elects
