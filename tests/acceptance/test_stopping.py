"""Stopping: once is enough, twice changes nothing, and early is as good as late."""

import os
import signal
import subprocess

import pytest

from acceptance.conftest import BIN, start_up
from support.processes import mentioning
from support.services import enterable_directory


def test_a_second_signal_changes_nothing():
    with enterable_directory() as path:
        up = start_up(path / "data")
        up.process.send_signal(signal.SIGINT)
        while not _has_ended_after(up.process, 0.05):  # as a user does who presses Ctrl-C repeatedly
            up.process.send_signal(signal.SIGINT)
        printed = up.process.stdout.read()
        up.process.stdout.close()

        assert up.process.returncode == 0
        assert "Traceback" not in printed
        assert mentioning(str(path)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_closes_what_was_opened(number):
    with enterable_directory() as path:
        environment = {**os.environ, "TMPDIR": str(path)}
        command = [BIN / "kubernaut", "demo"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as demo:
            demo.stdout.readline()  # the first part is up
            demo.send_signal(number)
            printed = demo.stdout.read().decode()

        assert demo.returncode == 128 + number
        assert "Traceback" not in printed
        assert mentioning(str(path)) == []
        assert list(path.glob("kubernaut-demo*")) == []


def _has_ended_after(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
