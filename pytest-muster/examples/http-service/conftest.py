"""One service for the run, a database for each worker, a tenant's client for each test."""

import sys
from pathlib import Path

import pytest
from client import call

import pytest_muster as muster

SERVICE = Path(__file__).with_name("shelf.py")


@muster.shared
def shelf(muster_run):
    """The service, as a process of its own on a port that nobody else has."""
    port, data = muster_run.port(), muster_run.directory / "data"
    data.mkdir()
    service = muster_run.start([sys.executable, SERVICE, "--port", str(port), "--data", data], log="shelf.log")
    url = f"http://127.0.0.1:{port}"
    muster_run.wait_until(lambda: call("GET", f"{url}/ready"), timeout=10, description=f"shelf answers at {url}/ready")
    yield {"url": url}
    service.stop()


@muster.worker
def database(shelf, muster_worker):
    """A database that only this worker uses."""
    url = f"{shelf['url']}/{muster_worker.name('shelf')}"
    call("PUT", url)
    yield url
    call("DELETE", url)


@pytest.fixture
def notes(database):
    """The notes of this worker's database, empty."""
    call("PUT", database)
    yield f"{database}/notes"
    call("DELETE", database)
