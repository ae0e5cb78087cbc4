"""Clients that are slow, half-open, or too many: the server goes on serving the others."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from pocketkube import ApiServer, open_api_server
from pocketkube.http import edge

MAPS = "/api/v1/namespaces/default/configmaps"
CONNECTIONS = 2000
MAX_GROWTH = 30 * 1024  # KiB


def client_of(url: str, token: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=5, verify=False)


@pytest.fixture
async def server(tmp_path, monkeypatch) -> AsyncIterator[ApiServer]:
    monkeypatch.setattr(edge, "HEADER_TIMEOUT", 0.3)
    monkeypatch.setattr(edge, "BODY_TIMEOUT", 0.3)
    monkeypatch.setattr(edge, "MAX_CONNECTIONS", 10)
    async with open_api_server(tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def connection(server: ApiServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
async def test_headers_that_do_not_arrive_in_time_close_the_connection(server, sent):
    async with connection(server) as (reader, writer):
        writer.write(sent)

        assert (await rest_of(reader)).startswith(b"HTTP/1.1 408 ")


async def test_second_request_has_the_same_limits(server):
    async with connection(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        first = await reader.readuntil(b"ok")
        writer.write(b"GET /healthz HTTP/1.1\r\n")

        assert first.startswith(b"HTTP/1.1 200 ")
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 408 ")


async def test_body_that_does_not_arrive_in_time_closes_the_connection(server):
    head = f"POST {MAPS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.token}\r\nContent-Length: 100\r\n\r\n"
    async with connection(server) as (reader, writer):
        writer.write(head.encode() + b"{")

        assert (await rest_of(reader)).startswith(b"HTTP/1.1 408 ")


async def test_too_large_headers_are_rejected(server):
    async with connection(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(edge.MAX_HEADER_BYTES // 1024 + 2):
                writer.write(b"X-Padding: " + b"a" * 1024 + b"\r\n")
                await writer.drain()
        answer = await rest_of(reader)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("ending", [b"", b"\r\n"])
async def test_too_many_headers_are_rejected(server, ending):
    async with connection(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * (edge.MAX_HEADERS + 2) + ending)

        assert (await rest_of(reader)).startswith(b"HTTP/1.1 431 ")


async def test_quiet_watch_stays_open(server):
    async with client_of(server.url, server.token) as client:
        params = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}
        answer = await client.get(MAPS, params=params)

    assert answer.status_code == 200


async def test_connection_without_a_request_gives_way_at_the_limit(server, monkeypatch):
    monkeypatch.setattr(edge, "HEADER_TIMEOUT", 60)
    async with contextlib.AsyncExitStack() as stack, client_of(server.url, server.token) as client:
        watch = client.stream("GET", MAPS, params={"watch": "true", "timeoutSeconds": "30"})
        answer = await stack.enter_async_context(watch)
        lines = answer.aiter_lines()
        silent = [await stack.enter_async_context(connection(server)) for _ in range(20)]
        made = await client.post(MAPS, json={"metadata": {"name": "a"}})
        event = await asyncio.wait_for(anext(lines), 5)

        assert made.status_code == 201
        assert '"ADDED"' in event
        assert await rest_of(silent[0][0]) == b""


def memory_of(pid: int) -> int:
    """Resident memory in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(CONNECTIONS + 200, soft)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_two_thousand_hostile_connections_do_not_stop_the_service(tmp_path, descriptors):
    command = [sys.executable, "-m", "pocketkube", "run", "--data", str(tmp_path), "--output", "json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 20)
    port, token = int((tmp_path / "port").read_text()), (tmp_path / "token").read_text()
    writers: list[asyncio.StreamWriter] = []

    async def attack(number: int) -> None:
        """Open a connection and say nothing, or send headers without end."""
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            if number % 2:
                writer.write(b"GET /healthz HTTP/1.1\r\n")
                for _ in range(1000):
                    await asyncio.sleep(0.1)  # the rate of a slow client
                    writer.write(b"X-Padding: " + b"a" * 500 + b"\r\n")
                    await writer.drain()

    async with client_of(f"http://127.0.0.1:{port}", token) as client:
        assert (await client.get(MAPS)).status_code == 200
        before = memory_of(process.pid)
        attackers = [asyncio.ensure_future(attack(number)) for number in range(CONNECTIONS)]
        try:
            for number in range(100):
                made = await client.post(MAPS, json={"metadata": {"name": f"m-{number}"}})
                assert made.status_code == 201
            async with asyncio.timeout(30):
                while len(writers) < CONNECTIONS:
                    assert (await client.get(f"{MAPS}/m-1")).status_code == 200
            fresh = await asyncio.wait_for(_fresh_request(port, token), 10)
            growth = memory_of(process.pid) - before
        finally:
            for attacker in attackers:
                attacker.cancel()
            await asyncio.gather(*attackers, return_exceptions=True)
            for writer in writers:
                writer.transport.abort()
            os.kill(process.pid, signal.SIGTERM)
            await process.wait()

    print(f"memory grew by {growth} KiB")
    assert fresh == 200
    assert growth <= MAX_GROWTH


async def _fresh_request(port: int, token: str) -> int:
    """The status of a request on a new connection."""
    async with client_of(f"http://127.0.0.1:{port}", token) as client:
        return (await client.get(MAPS)).status_code
