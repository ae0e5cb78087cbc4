"""A PostgreSQL server of our own, in a directory of our own.

    async with open_postgres(PostgresConfig(directory=data / "postgres", env=os.environ)) as server:
        await asyncpg.connect(server.url("postgres"))

It listens on 127.0.0.1 only and asks for a password, because other users share the machine; there is no socket
file, whose path could be too long. PostgreSQL refuses to run as root: started by root it runs as `nobody`, who
must be able to enter the directory. It stops with its parent. After a crash of either it recovers by itself at the
next start on the same directory; what it had confirmed is there, unless `durable` was off.
"""

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernaut.embedded.binaries import PostgresBinaries, find_postgres, may_enter, usable_by
from kubernaut.embedded.errors import EmbeddedError
from kubernaut.embedded.ports import HOST, open_on_free_port
from kubernaut.embedded.process import Process, ProcessSpec
from kubernaut.embedded.secret_files import secret_in, write_secret

USER = "postgres"
_INITDB_WITHIN = 120.0  # seconds
_ORPHAN_WITHIN = 10.0  # seconds for a server whose owner was killed to go away

_EVERY_SERVER = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
_NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "10min",
}


@dataclass(frozen=True, kw_only=True)
class PostgresConfig:
    """Which server to run, and where."""

    directory: Path
    """Holds `data` and the files `password` and `postgres.log`; made if it is missing."""
    env: Mapping[str, str]
    """Where to look for the programs."""
    durable: bool = True
    """Off: twice as fast, and worthless after a crash of the machine. For tests."""
    port: int = 0
    """The port to take if it is free."""
    ready_within: float = 60.0
    """Seconds; recovery after a crash is part of it."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server that answers."""

    port: int
    password: str
    process: Process
    host: str = HOST
    user: str = USER

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


@asynccontextmanager
async def open_postgres(config: PostgresConfig) -> AsyncIterator[Postgres]:
    """Run a server on the directory's data, made first if there is none, until the block ends."""
    place = _Place(config)
    await _to_the_end(place.prepare)
    await place.outlive_orphan()
    async with open_on_free_port(place.spec, config.port) as (process, port):
        yield Postgres(port=port, password=place.password, process=process)


async def _to_the_end(work: Callable[[], None]) -> None:
    """Run `work` in a thread and wait for it even when cancelled: it must not write to a directory that is removed."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


class _Place:
    """One directory with the data of one server."""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._directory = config.directory.resolve()
        self._data = self._directory / "data"
        self._user = _account()
        binaries = find_postgres(config.env)
        self._binaries = binaries if self._user is None else usable_by(binaries, self._user, config.env)

    @property
    def password(self) -> str:
        return secret_in(self._directory / "password")

    def prepare(self) -> None:
        """Make the data directory, once; a half-made one is thrown away and made again."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            self._directory.chmod(0o711)
            if not may_enter(self._directory, self._user):
                raise EmbeddedError(
                    f"{self._directory} is closed to the user {pwd.getpwuid(self._user).pw_name}, as whom PostgreSQL"
                    " runs because it refuses root: choose a directory that others may enter, such as one below"
                    " /var/lib, or start as an ordinary user"
                )
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self._check_version()

    def spec(self, port: int) -> ProcessSpec:
        settings = _EVERY_SERVER | ({} if self._config.durable else _NOT_DURABLE)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="PostgreSQL",
            command=[self._binaries.folder / "postgres", "-D", self._data, "-p", str(port), *options],
            log=self._directory / "postgres.log",
            ready=self._is_ready,
            ready_within=self._config.ready_within,
            env=_environment(),
            cwd=self._data,
            user=self._user,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, does not wait for clients
            # "immediate": the owner is gone and nobody waits; the log replays at the next start.
            orphan_signal=signal.SIGQUIT,
        )

    async def outlive_orphan(self) -> None:
        """Wait until the server of a killed owner is gone, and clear a lock file that names somebody else."""
        lock = self._data / "postmaster.pid"
        deadline = time.monotonic() + _ORPHAN_WITHIN
        while (pid := _first_number(lock)) is not None and _is_server(pid, self._data):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"a PostgreSQL server (process {pid}) is still running on {self._data}: stop it")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGQUIT)
            await asyncio.sleep(0.02)
        # A number that now belongs to another process would keep PostgreSQL from starting.
        if pid is not None and _is_alive(pid):
            lock.unlink(missing_ok=True)

    async def _is_ready(self, process: Process) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    def _make(self) -> None:
        fresh = Path(tempfile.mkdtemp(prefix=".data-", dir=self._directory))
        if self._data.exists():
            if any(self._data.iterdir()):
                raise EmbeddedError(f"{self._data} is not the data of a PostgreSQL server: move it away")
            self._data.rmdir()
        handed = fresh.with_name(fresh.name + ".password")
        try:
            write_secret(handed, self.password, owner=self._user)
            if self._user is not None:
                os.chown(fresh, self._user, self._user)
            self._initdb(fresh, handed)
            fresh.rename(self._data)
        finally:
            handed.unlink(missing_ok=True)

    def _initdb(self, data: Path, password: Path) -> None:
        command: list[str | Path] = [
            self._binaries.folder / "initdb",
            "-D",
            data,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
        ]
        command += [f"--pwfile={password}", "--no-instructions"]
        command += _locale_options(self._binaries)
        if not self._config.durable:
            command += ["--no-sync"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd=data,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                timeout=_INITDB_WITHIN,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedError(f"initdb of {self._binaries.source} failed: {error}") from error
        if done.returncode != 0:
            tail = "\n".join(f"  {line}" for line in done.stdout.decode(errors="replace").splitlines()[-15:])
            raise EmbeddedError(f"initdb of {self._binaries.source} failed (exit code {done.returncode}):\n{tail}")

    def _check_version(self) -> None:
        theirs = (self._data / "PG_VERSION").read_text().strip()
        ours = _version(self._binaries)[0]
        if theirs != str(ours):
            raise EmbeddedError(
                f"{self._data} was made by PostgreSQL {theirs}, and {self._binaries.folder} is PostgreSQL {ours}:"
                f" set KUBERNAUT_PG_BIN to the programs of PostgreSQL {theirs}, or start with another directory"
            )


def _account() -> int | None:
    """Whom the server runs as: ourselves, or `nobody` if we are root."""
    return None if os.geteuid() != 0 else pwd.getpwnam("nobody").pw_uid


def _environment() -> dict[str, str]:
    # Not ours: a PGPORT or PGDATA of the user would reach the server.
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _version(binaries: PostgresBinaries) -> tuple[int, ...]:
    """Such as (18, 6)."""
    said = subprocess.run(
        [binaries.folder / "postgres", "-V"], capture_output=True, text=True, env=_environment(), timeout=10, check=True
    ).stdout
    number = said.split(")")[1].split()[0]
    return tuple(int(part) for part in number.split(".") if part.isdigit())


def _locale_options(binaries: PostgresBinaries) -> list[str]:
    if _version(binaries) >= (17,):
        return ["--locale-provider=builtin", "--locale=C.UTF-8"]
    return ["--locale=C"]


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_server(pid: int, data: Path) -> bool:
    """Whether the process is a PostgreSQL server on this data; on systems without /proc, whether it is alive."""
    proc = Path("/proc")
    if not (proc / "self").exists():
        return _is_alive(pid)
    try:
        return os.fsencode(data) in (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
