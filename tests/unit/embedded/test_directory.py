"""Data directories: ours or empty, one stack at a time, kept or thrown away."""

import json
import os
import stat

import pytest

from kubernaut.embedded import directory
from kubernaut.embedded.directory import (
    DirectoryInUse,
    default_directory,
    open_default_directory,
    open_directory,
    open_temporary_directory,
)
from kubernaut.embedded.errors import EmbeddedError


def test_a_new_directory_is_created_and_marked(tmp_path):
    with open_directory(tmp_path / "a" / "b") as data:
        subdirectory = data.subdirectory("postgres")

    assert subdirectory.is_dir()
    with open_directory(tmp_path / "a" / "b") as again:
        assert again.path == tmp_path / "a" / "b"


def test_others_cannot_look_inside(tmp_path):
    with open_directory(tmp_path / "data") as data:
        assert not data.path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP)
        assert stat.S_IMODE(data.subdirectory("x").stat().st_mode) == 0o700


def test_a_directory_with_other_files_is_rejected_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    mode = tmp_path.stat().st_mode

    message = r"is not empty and is not a data directory of Kubernaut.*choose an empty"
    with pytest.raises(EmbeddedError, match=message), open_directory(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode == mode


def test_a_file_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedError, match="is not a directory"), open_directory(tmp_path / "file"):
        pass


def test_another_format_is_rejected(tmp_path):
    (tmp_path / "kubernaut-data.json").write_text(json.dumps({"format": 99}))

    with pytest.raises(EmbeddedError, match=r"has data format 99.*supports format 1"), open_directory(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_rejected(tmp_path):
    os.chown(tmp_path, 65534, 65534)

    with pytest.raises(EmbeddedError, match="belongs to nobody, not to you"), open_directory(tmp_path):
        pass


def test_a_second_stack_is_told_who_uses_the_directory(tmp_path):
    message = f"in use by process {os.getpid()}"
    with open_directory(tmp_path), pytest.raises(DirectoryInUse, match=message), open_directory(tmp_path):
        pass


def test_the_lock_ends_with_its_block(tmp_path):
    with open_directory(tmp_path):
        pass

    with open_directory(tmp_path) as again:
        assert again.path == tmp_path


def test_an_interrupted_first_start_is_no_foreign_directory(tmp_path):
    (tmp_path / "lock").write_text("")
    (tmp_path / "kubernaut-data.json.new").write_text("{")

    with open_directory(tmp_path) as data:
        assert data.path == tmp_path


def test_ports_are_remembered(tmp_path):
    with open_directory(tmp_path) as data:
        assert data.saved_port("gateway") == 0
        data.save_port("gateway", 4711)
        data.save_port("datastorage", 4712)

    with open_directory(tmp_path) as again:
        assert (again.saved_port("gateway"), again.saved_port("datastorage")) == (4711, 4712)


def test_a_broken_memory_of_ports_is_forgotten(tmp_path):
    with open_directory(tmp_path) as data:
        (tmp_path / "ports.json").write_text("[")

        assert data.saved_port("gateway") == 0


def test_the_default_directory_is_the_users_own(tmp_path):
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": "/usr/share"}

    assert str(default_directory(env)) == "/usr/share/kubernaut/up"


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_root_with_a_closed_home_gets_a_directory_that_postgresql_can_enter(tmp_path):
    tmp_path.chmod(0o700)

    assert str(default_directory({"HOME": str(tmp_path)})) == "/var/lib/kubernaut/up"


def test_the_default_directory_in_use_gives_the_one_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "default_directory", lambda env: tmp_path / "up")

    with open_default_directory({}) as first, open_default_directory({}) as second:
        assert [first.path.name, second.path.name] == ["up", "up-2"]


def test_a_temporary_directory_goes_with_its_block(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with open_temporary_directory() as data:
        data.subdirectory("postgres")
        assert data.path.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_demo_left_is_removed_but_not_what_is_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, used, foreign = (tmp_path / f"kubernaut-demo-{name}" for name in ("left", "used", "foreign"))
    foreign.mkdir()
    with open_directory(left):
        pass

    with open_directory(used), open_temporary_directory():
        assert (left.exists(), used.exists(), foreign.exists()) == (False, True, True)


def test_a_second_stack_says_that_it_has_a_directory_of_its_own(own_directory):
    env = {"XDG_DATA_HOME": str(own_directory), "HOME": str(own_directory)}
    said: list[str] = []
    with open_directory(default_directory(env)), open_default_directory(env, said.append) as second:
        pass

    assert f"process {os.getpid()}" in said[0]
    assert said[1] == f"data directory {second.path}"


def test_the_first_stack_has_nothing_to_say(own_directory):
    env = {"XDG_DATA_HOME": str(own_directory), "HOME": str(own_directory)}
    said: list[str] = []
    with open_default_directory(env, said.append):
        pass

    assert said == []
