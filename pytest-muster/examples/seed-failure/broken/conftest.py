"""The set-up as it was: written for one process, then run by four."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from signals import AuditWriter, Cache, Classifier, Client

HERE = Path(__file__).parent

client_of_suite = None
policy_of_suite = None


def started_once(root, worker_id):
    """Process 1 starts the service and makes what the specs need; "all processes share its objects"."""
    global client_of_suite, policy_of_suite
    told = root / "audit-service.json"
    if worker_id in {"master", "gw0"}:
        subprocess.Popen([sys.executable, HERE / "audit_service.py", told, "0"], stdout=subprocess.DEVNULL)
    for _ in range(600):
        if told.exists():
            break
        time.sleep(0.05)
    service = json.loads(told.read_text())
    if worker_id in {"master", "gw0"}:
        client_of_suite = Client(service["port"])
        policy_of_suite = Path(tempfile.mkdtemp(dir=root)) / "policy"
    return service


@pytest.fixture(scope="session", autouse=True)
def service(tmp_path_factory, worker_id):
    root = tmp_path_factory.getbasetemp()
    service = started_once(root if worker_id == "master" else root.parent, worker_id)
    yield service
    with suppress(ProcessLookupError):  # "compose down": every process cleans up
        os.kill(service["pid"], signal.SIGTERM)


@pytest.fixture
def client():
    return client_of_suite


@pytest.fixture
def policy_file():
    return policy_of_suite


@pytest.fixture
def audit_writer(service):
    return AuditWriter("localhost", service["port"])


@pytest.fixture
def classifier():
    cache = Cache(HERE / "mapping.txt")
    classifier = Classifier(cache)  # reads the mapping
    cache.start()
    yield classifier
    cache.stop()
