"""A PostgreSQL server of our own, in a directory of our own.

    async with open_postgres(PostgresConfig(directory=data / "postgres", env=os.environ)) as server:
        await asyncpg.connect(server.url("postgres"))

It listens on 127.0.0.1 only and requires a password, because other users share the machine; there is no socket
file, whose path could be too long. PostgreSQL does not run as root: started by root it runs as `nobody`, who
must be able to enter the directory. It stops with its parent. After a crash of either it recovers by itself at the
next start on the same directory; every committed transaction is there, unless `durable` was off.
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
_INITDB_TIMEOUT = 120.0  # seconds
_ORPHAN_TIMEOUT = 10.0  # seconds for a server whose parent was killed to exit

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    # The index of event ids is written to at random places: below its size every insert evicts a page that another one
    # has just changed. Each page is logged whole once after a checkpoint, so that those must not come often.
    "shared_buffers": "512MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
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
    """Holds `data` and the files `password` and `postgres.log`; created if it is missing."""
    env: Mapping[str, str]
    """Where to look for the programs."""
    durable: bool = True
    """False: twice as fast, but the data may be corrupt after a crash of the machine. For tests."""
    port: int = 0
    """The port to use if it is free."""
    ready_timeout: float = 60.0
    """Seconds; includes crash recovery."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server that accepts connections."""

    port: int
    password: str
    process: Process
    host: str = HOST
    user: str = USER

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


@asynccontextmanager
async def open_postgres(config: PostgresConfig) -> AsyncIterator[Postgres]:
    """Run a server on the directory's data, created first if there is none, until the block ends."""
    cluster = _Cluster(config)
    await _run_uncancelled(cluster.prepare)
    await cluster.stop_orphaned_server()
    async with open_on_free_port(cluster.spec, config.port) as (process, port):
        yield Postgres(port=port, password=cluster.password, process=process)


async def _run_uncancelled(work: Callable[[], None]) -> None:
    """Run `work` in a thread and wait for it even when cancelled: it must not write to a directory that is removed."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # Ctrl-C reaches its process too; nobody else asks what became of it
        raise


class _Cluster:
    """A database cluster, as PostgreSQL calls the data directory of one server."""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._directory = config.directory.resolve()
        self._data = self._directory / "data"
        self._user = _server_user()
        binaries = find_postgres(config.env)
        self._binaries = binaries if self._user is None else usable_by(binaries, self._user, config.env)

    @property
    def password(self) -> str:
        return secret_in(self._directory / "password")

    def prepare(self) -> None:
        """Create the data directory, once; an incomplete one is removed and created again."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            self._directory.chmod(0o711)
            if not may_enter(self._directory, self._user):
                raise EmbeddedError(
                    f"the user {pwd.getpwuid(self._user).pw_name} cannot enter {self._directory}, and PostgreSQL runs"
                    " as that user because it does not run as root: choose a directory that others may enter, such as"
                    " one below /var/lib, or start as an ordinary user"
                )
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._check_version()

    def spec(self, port: int) -> ProcessSpec:
        settings = _SETTINGS | ({} if self._config.durable else _NOT_DURABLE)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="PostgreSQL",
            command=[self._binaries.folder / "postgres", "-D", self._data, "-p", str(port), *options],
            log=self._directory / "postgres.log",
            ready=self._is_ready,
            ready_timeout=self._config.ready_timeout,
            env=_environment(),
            cwd=self._data,
            user=self._user,
            before_restart=self.stop_orphaned_server,
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, does not wait for clients
            # Immediate shutdown: the parent is dead and nobody waits; the WAL is replayed at the next start.
            parent_death_signal=signal.SIGQUIT,
        )

    async def stop_orphaned_server(self) -> None:
        """Stop the server of a killed parent, and remove a lock file whose process id is another program's."""
        lock = self._data / "postmaster.pid"
        deadline = time.monotonic() + _ORPHAN_TIMEOUT
        while (pid := _read_pid(lock)) is not None and _is_server(pid, self._data):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"a PostgreSQL server (process {pid}) is still running on {self._data}: stop it")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGQUIT)
            await asyncio.sleep(0.02)
        # PostgreSQL would not start while the process id belongs to any live process.
        if pid is not None and _is_alive(pid):
            lock.unlink(missing_ok=True)

    async def _is_ready(self, process: Process) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    def _create(self) -> None:
        fresh = Path(tempfile.mkdtemp(prefix=".data-", dir=self._directory))
        if self._data.exists():
            if any(self._data.iterdir()):
                raise EmbeddedError(f"{self._data} is not the data directory of a PostgreSQL server: move it away")
            self._data.rmdir()
        password_file = fresh.with_name(fresh.name + ".password")
        try:
            write_secret(password_file, self.password, owner=self._user)
            if self._user is not None:
                os.chown(fresh, self._user, self._user)
            self._initdb(fresh, password_file)
            fresh.rename(self._data)
        finally:
            password_file.unlink(missing_ok=True)

    def _initdb(self, data: Path, password_file: Path) -> None:
        command = [str(self._binaries.folder / "initdb"), f"--pgdata={data}", f"--username={USER}", "--encoding=UTF8"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions"]
        command += _locale_options(self._binaries)
        if not self._config.durable:
            command += ["--no-sync"]
        try:
            completed = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd=data,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                timeout=_INITDB_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedError(f"initdb of {self._binaries.source} failed: {error}") from error
        if completed.returncode != 0:
            tail = "\n".join(f"  {line}" for line in completed.stdout.decode(errors="replace").splitlines()[-15:])
            raise EmbeddedError(f"initdb of {self._binaries.source} failed (exit code {completed.returncode}):\n{tail}")

    def _check_version(self) -> None:
        theirs = (self._data / "PG_VERSION").read_text().strip()
        ours = _version(self._binaries)[0]
        if theirs != str(ours):
            raise EmbeddedError(
                f"{self._data} was created by PostgreSQL {theirs}, but {self._binaries.folder} is PostgreSQL {ours}:"
                f" set KUBERNAUT_PG_BIN to the programs of PostgreSQL {theirs}, or choose another directory"
            )


def _server_user() -> int | None:
    """The user that the server runs as: None for our own, `nobody` if we are root."""
    return None if os.geteuid() != 0 else pwd.getpwnam("nobody").pw_uid


def _environment() -> dict[str, str]:
    # Not our own: the server would read PGPORT or PGDATA from it.
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _version(binaries: PostgresBinaries) -> tuple[int, ...]:
    """Such as (18, 6)."""
    output = subprocess.run(
        [binaries.folder / "postgres", "-V"], capture_output=True, text=True, env=_environment(), timeout=10, check=True
    ).stdout
    number = output.split(")")[1].split()[0]
    return tuple(int(part) for part in number.split(".") if part.isdigit())


def _locale_options(binaries: PostgresBinaries) -> list[str]:
    if _version(binaries) >= (17,):
        return ["--locale-provider=builtin", "--locale=C.UTF-8"]
    return ["--locale=C"]


def _read_pid(path: Path) -> int | None:
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
    """Whether the process is a PostgreSQL server of this data directory; without /proc, whether it is alive."""
    proc = Path("/proc")
    if not (proc / "self").exists():
        return _is_alive(pid)
    try:
        return os.fsencode(data) in (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
