"""A lease says what would have to be cleaned up, and whose it is."""

import os
import subprocess
from dataclasses import replace

import pytest

from pytest_muster.workspace import leases as leases_module
from pytest_muster.workspace.leases import Kind, Leases, identity, read_leases, started


@pytest.fixture
def leases(tmp_path):
    return Leases.of(tmp_path, worker="gw0", slot=1)


def test_a_lease_is_a_file_until_it_is_given_back(leases):
    lease = leases.acquire(Kind.DIRECTORY, path="/tmp/somewhere")
    held = [found.fields.get("path") for found in read_leases(leases.directory) if found.kind is Kind.DIRECTORY]
    lease.release()
    left = [found for found in read_leases(leases.directory) if found.kind is Kind.DIRECTORY]

    assert held == ["/tmp/somewhere"]
    assert left == []


def test_the_first_lease_tells_the_owner(leases):
    leases.acquire(Kind.COMMAND, argv=["true"])

    owner = next(lease for lease in read_leases(leases.directory) if lease.kind is Kind.OWNER)

    assert owner.owner == os.getpid()
    assert owner.identity == identity(os.getpid())
    assert owner.identity.is_alive


def test_leases_are_read_in_the_order_in_which_they_were_taken(leases):
    for number in range(12):
        leases.acquire(Kind.COMMAND, argv=[str(number)])

    read = [lease.fields["argv"] for lease in read_leases(leases.directory) if lease.kind is Kind.COMMAND]

    assert read == [[str(number)] for number in range(12)]


def test_a_torn_file_is_left_out(leases):
    leases.acquire(Kind.COMMAND, argv=["true"])
    (leases.directory / "1-000001.json").write_text('{"kind": "comm')

    assert {lease.kind for lease in read_leases(leases.directory)} == {Kind.COMMAND, Kind.OWNER}


def test_a_process_that_ended_does_not_live_even_before_it_is_collected():
    process = subprocess.Popen(["sleep", "300"])
    who = identity(process.pid)
    lived = who.is_alive

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert (lived, who.is_alive) == (True, False)
    process.wait()
    assert started(process.pid) is None


def test_a_process_id_that_was_given_to_another_is_not_the_owner():
    me = identity(os.getpid())

    assert not replace(me, start="1").is_alive
    assert not replace(me, boot="an earlier start of this machine").is_alive


def test_other_hosts_and_containers_are_not_judged():
    me = identity(os.getpid())

    assert me.is_local
    assert replace(me, boot="an earlier start of this machine").is_local
    assert not replace(me, host="elsewhere").is_local
    assert not replace(me, namespace="pid:[1]").is_local


def test_without_proc_ps_is_asked(monkeypatch):
    monkeypatch.setattr(leases_module, "_has_proc", lambda: False)
    monkeypatch.setattr(leases_module.Path, "read_text", _no_such_file)
    with subprocess.Popen(["sleep", "300"]) as process:
        first = started(process.pid)
        again = started(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert first == again is not None
        assert started(process.pid) is None


def _no_such_file(path, **options):
    raise FileNotFoundError(path)
