"""A Valkey server of our own, in a directory of our own.

    async with open_valkey(ValkeyConfig(directory=data / "valkey", env=os.environ)) as server:
        valkey.asyncio.from_url(server.url())

Every acknowledged write is on disk: DataStorage will answer 202 because of that acknowledgement, so the append-only
file is synced for every write (`appendfsync always`, some thousand writes a second) and not once a second, which would
lose up to a second of acknowledged events. It never evicts: when memory is full, writes fail and nothing is lost.
It listens on 127.0.0.1 only and requires a password, which is in a file and not on the command line, where other
users could read it. It stops with its parent.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernaut.embedded.binaries import find_valkey
from kubernaut.embedded.ports import HOST, open_on_free_port
from kubernaut.embedded.process import Process, ProcessSpec
from kubernaut.embedded.secret_files import secret_in, write_secret

_PROBE_TIMEOUT = 2.0  # seconds

_SETTINGS = """\
bind {host}
port {port}
requirepass {password}
dir {data}
save ""
appendonly yes
appendfsync {sync}
maxmemory-policy noeviction
databases 64
daemonize no
"""


@dataclass(frozen=True, kw_only=True)
class ValkeyConfig:
    """Which server to run, and where."""

    directory: Path
    """Holds `data` and the files `password`, `valkey.conf` and `valkey.log`; created if it is missing."""
    env: Mapping[str, str]
    """Where to look for the program."""
    durable: bool = True
    """False: nothing is synced. For tests."""
    port: int = 0
    """The port to use if it is free."""
    ready_timeout: float = 30.0
    """Seconds; includes loading the append-only file."""


@dataclass(frozen=True, kw_only=True)
class Valkey:
    """A server that accepts connections."""

    port: int
    password: str
    process: Process
    host: str = HOST

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/{database}"


@asynccontextmanager
async def open_valkey(config: ValkeyConfig) -> AsyncIterator[Valkey]:
    """Run a server on the directory's data until the block ends."""
    program = find_valkey(config.env)
    directory = config.directory.resolve()
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = secret_in(directory / "password")

    def spec(port: int) -> ProcessSpec:
        settings = directory / "valkey.conf"
        sync = "always" if config.durable else "no"
        write_secret(settings, _SETTINGS.format(host=HOST, port=port, password=password, data=_quoted(data), sync=sync))

        async def is_ready(process: Process) -> bool:
            return await _is_ready(port, password, process.pid)

        return ProcessSpec(
            name="Valkey",
            command=[program, settings],
            log=directory / "valkey.log",
            ready=is_ready,
            ready_timeout=config.ready_timeout,
            cwd=data,
        )

    async with open_on_free_port(spec, config.port) as (process, port):
        yield Valkey(port=port, password=password, process=process)


async def _is_ready(port: int, password: str, pid: int) -> bool:
    """Whether our own server is ready, and not another one that has bound the port first."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"AUTH {password}\r\nINFO server\r\nPING\r\nQUIT\r\n".encode())
                reply = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    lines = reply.split(b"\r\n")
    # While it loads its file, it answers PING with an error.
    return f"process_id:{pid}".encode() in lines and b"+PONG" in lines


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
