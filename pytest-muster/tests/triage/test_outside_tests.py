"""A run that is red although no test failed is explained, and one whose service hangs names the service."""

from pathlib import Path

import pytest

from pytest_muster.records.reader import load, newest
from pytest_muster.triage.engine import triage
from pytest_muster.triage.findings import Cause
from pytest_muster.triage.patterns import BUILT_IN
from pytest_muster.workspace.leases import is_suspended

CONFTEST = """
import os

import pytest_muster as muster

WAY = os.environ["WAY"]


@muster.shared
def service(muster_run):
    yield muster_run.start(["sleep", "600"]).pid
    if WAY == "shared teardown":
        raise RuntimeError("does not let go")


@muster.worker
def client(service):
    yield service
    if WAY == "teardown of a worker":
        raise RuntimeError("does not let go")
"""

TESTS = """
import os
import signal
import subprocess
import time

WAY = os.environ["WAY"]
if WAY == "collection":
    raise ImportError("no module named shop")


def test_one(client): ...


def test_two(client, service):
    if WAY == "killed by a test":
        os.kill(service, signal.SIGKILL)
    if WAY == "killed by somebody":
        subprocess.run(["sh", "-c", f"kill -9 {service}"], check=True)
    if WAY == "deadline":
        time.sleep(600)
"""

WAYS = {
    "shared teardown": (Cause.DEFECT, "the teardown of service failed: RuntimeError: does not let go"),
    "teardown of a worker": (Cause.DEFECT, "the teardown of client failed: RuntimeError: does not let go"),
    "collection": (Cause.DEFECT, "test_it.py could not be collected: ImportError: no module named shop"),
    "killed by a test": (Cause.EARLY_TEARDOWN, "test_it.py::test_two ended service"),
    "killed by somebody": (Cause.INFRASTRUCTURE_GONE, "service died"),
    "deadline": (Cause.TIME_OUT, "the time of the run was over while test_it.py::test_two ran"),
}


def explained(nested):
    return triage(load(newest(nested.directory / ".muster")), patterns=BUILT_IN)


@pytest.mark.parametrize("way", WAYS)
def test_red_run_without_a_failed_test_is_explained(nested, way):
    nested.write("conftest.py", CONFTEST)
    nested.write("test_it.py", TESTS)
    nested.write("test_other.py", "def test_other(): ...\n")

    # Long enough for a busy machine to reach the test.
    deadline = ["--muster-deadline=10s"] if way == "deadline" else []
    done = nested.run("-n", "2", *deadline, WAY=way)

    assert done.code not in {0, 5}, done.out
    assert done.of("test", outcome="failed") == done.of("test", outcome="infrastructure") == []
    (finding,) = explained(nested).findings
    assert finding.cause is WAYS[way][0]
    assert WAYS[way][1] in finding.title
    assert finding.evidence


@pytest.mark.parametrize("where", ["conftest.py", "test_it.py"])
def test_run_whose_time_is_over_before_its_first_test_is_explained(nested, where):
    nested.write("test_it.py", "def test_one(): ...\n")
    slow = "import pytest_muster as muster, time\n@muster.shared(always=True)\ndef never(): time.sleep(600)\n"
    nested.write(where, slow if where == "conftest.py" else "import time\ntime.sleep(600)\n")

    done = nested.run("-n", "0", "--muster-deadline=2s")

    assert done.code == 11, done.out
    (finding,) = explained(nested).findings
    assert (finding.cause, finding.tests) == (Cause.TIME_OUT, ())
    assert finding.title == "the time of the run was over before the first test began"


def test_green_run_is_not_explained(nested):
    nested.write("conftest.py", CONFTEST)
    nested.write("test_it.py", TESTS)

    done = nested.run("-n", "2", WAY="")

    assert done.code == 0, done.out
    assert explained(nested).findings == ()


STOPS = """
import socket
import sys
from pathlib import Path

import pytest_muster as muster

SERVER = '''
import os
import signal
import socketserver
import sys

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.readline() == b"3\\\\n":
            os.kill(os.getpid(), signal.SIGSTOP)
        self.wfile.write(b"fine")

socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
'''


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@muster.shared
def service(muster_run):
    port = muster_run.port()
    process = muster_run.start([sys.executable, "-c", SERVER, str(port)])
    muster_run.wait_until(lambda: answers(port), timeout=20, description="the service listens")
    yield {"port": port, "pid": process.pid}
"""

ASKS = """
import socket

import pytest


@pytest.mark.parametrize("number", range(6))
def test_it(service, number):
    with socket.create_connection(("127.0.0.1", service["port"]), timeout=1) as connection:
        connection.sendall(f"{number}\\n".encode())
        assert connection.recv(4) == b"fine"
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_service_that_a_signal_has_stopped_is_named_though_the_kernel_takes_its_connections(nested):
    nested.write("conftest.py", STOPS)
    nested.write("test_it.py", ASKS)

    done = nested.run("-n", "1")

    (probe,) = done.of("resource", event="probe")
    assert probe["ok"] is False
    (pid,) = probe["suspended"]
    (finding,) = explained(nested).findings
    assert (finding.cause, finding.resource) == (Cause.INFRASTRUCTURE_GONE, "service")
    assert f"process {pid} lives, and is stopped by a signal" in finding.evidence[0].text
    assert len(finding.tests) == 3
    assert not is_suspended(pid), "it is gone with the run"
