"""The set-up as it should be: the service belongs to the run, clients and files to the worker, and all are ready."""

import json
import sys
from pathlib import Path

import pytest
from signals import AuditWriter, Cache, Classifier, Client

import pytest_muster as muster

HERE = Path(__file__).parent


@muster.shared
def service(muster_run):
    told = muster_run.directory / "audit-service.json"
    command = [sys.executable, str(HERE / "audit_service.py"), str(told), str(muster_run.port())]
    process = muster_run.start(command, log="audit-service.log")
    muster_run.wait_until(told.exists, timeout=10, description="the audit service listens")
    yield json.loads(told.read_text())
    process.stop()


@muster.worker
def client(service):
    return Client(service["port"])


@muster.worker
def policy_file(muster_worker):
    return muster_worker.directory / "policy"


@pytest.fixture
def audit_writer(service):
    return AuditWriter("127.0.0.1", service["port"])


@pytest.fixture
def classifier():
    cache = Cache(HERE / "mapping.txt")
    cache.start()
    assert cache.wait(timeout=5), "the cache did not fill within 5 seconds"
    yield Classifier(cache)
    cache.stop()
