"""A leased port is nobody else's on this host."""

import socket
import subprocess
import sys

import pytest

from pytest_muster.workspace import ports
from pytest_muster.workspace.ports import lease_port, port_range

MANY = """
import sys
from pytest_muster.workspace.ports import lease_port
held = [lease_port(slot=1, slots=1) for _ in range(50)]
print(*[port.number for port in held], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def leased():
    held = []
    yield lambda **options: held.append(lease_port(**options)) or held[-1]
    for port in held:
        port.release()


def test_processes_that_ask_at_once_get_different_ports():
    command = [sys.executable, "-c", MANY]
    askers = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(4)]
    numbers = [number for asker in askers for number in asker.stdout.readline().split()]
    for asker in askers:
        asker.communicate("", timeout=20)

    assert len(numbers) == len(set(numbers)) == 200


def test_the_ports_of_a_killed_process_are_free_again(monkeypatch, leased):
    with subprocess.Popen([sys.executable, "-c", MANY], stdin=-1, stdout=-1, text=True) as asker:
        numbers = [int(number) for number in asker.stdout.readline().split()]
        asker.kill()

    monkeypatch.setattr(ports, "port_range", lambda: (min(numbers), max(numbers)))

    assert numbers[0] <= leased().number <= numbers[-1]


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_in_use_is_not_leased(monkeypatch, leased, family, host):
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip(f"this host has no {host}")
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "port_range", lambda: (taken, taken))

        with pytest.raises(OSError, match=f"every port from {taken} to {taken}"):
            leased()


def test_no_outgoing_connection_can_take_a_leased_port(leased):
    first, last = port_range()
    with socket.socket() as outgoing:
        outgoing.bind(("127.0.0.1", 0))

        assert not first <= outgoing.getsockname()[1] <= last
    assert first <= leased().number <= last


def test_each_slot_looks_in_a_region_of_its_own(monkeypatch, leased):
    monkeypatch.setattr(ports, "_cursors", {})
    first, last = port_range()
    region = (last - first + 1) // 5

    numbers = [leased(slot=slot, slots=4).number for slot in range(5)]

    # A busy host may push a port a little way into the next region.
    assert [round((number - first) / region, 9) // 1 for number in numbers] == pytest.approx([0, 1, 2, 3, 4], abs=1)
    assert numbers == sorted(numbers)


def test_a_port_given_back_is_not_the_next_one(leased):
    first = leased()
    first.release()

    assert leased().number != first.number
