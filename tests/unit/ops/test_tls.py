"""A server speaks TLS, follows its certificate's files, and leaves nobody a minute for the handshake."""

import asyncio
import ssl

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.limits import HttpLimits
from kubernaut.ops.http.server import Listen, Server, open_server
from kubernaut.ops.http.tls import ServerCertificate, TlsConfig
from kubernaut.ops.settings import SettingsError, load
from support.certificates import write_certificate
from support.eventually import eventually


@pytest.fixture
def files(tmp_path):
    config = TlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    write_certificate(config.cert_file, config.key_file, "first")
    return config


async def hello(_):
    return PlainTextResponse("hello")


async def answer_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"hello")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


APP = Starlette(routes=[Route("/", hello)])


async def served_certificate(server: Server) -> bytes:
    """What a new connection gets, after one request over it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"hello")
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return certificate


def on_disk(config: TlsConfig) -> bytes:
    assert config.cert_file is not None
    return ssl.PEM_cert_to_DER_cert(config.cert_file.read_text())


async def test_new_certificate_is_served_without_a_restart(files):
    async with open_server(APP, Listen(tls=files)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert await served_certificate(server) == on_disk(files)

        write_certificate(files.cert_file, files.key_file, "second")

        async def is_new() -> bool:
            return await served_certificate(server) == on_disk(files)

        await eventually(is_new, description="the new certificate is served", timeout=15)


async def test_half_of_a_change_leaves_the_certificate_that_works(files, tmp_path):
    first, key = on_disk(files), files.key_file.read_bytes()
    write_certificate(tmp_path / "new.crt", tmp_path / "new.key", "second")
    certificate = ServerCertificate(files.cert_file, files.key_file)
    server = await asyncio.start_server(answer_hello, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        address = Server(host="127.0.0.1", port=server.sockets[0].getsockname()[1])

        files.cert_file.write_bytes((tmp_path / "new.crt").read_bytes())
        certificate.refresh()
        assert await served_certificate(address) == first
        files.key_file.unlink()
        certificate.refresh()
        assert await served_certificate(address) == first
        files.key_file.write_bytes(key)
        certificate.refresh()
        assert await served_certificate(address) == first
        files.key_file.write_bytes((tmp_path / "new.key").read_bytes())
        certificate.refresh()

        assert await served_certificate(address) == on_disk(files) != first


async def test_client_that_never_finishes_the_handshake_is_closed(files):
    table = ConnectionTable(HttpLimits(header_timeout=0.2))
    async with open_server(APP, Listen(tls=files), table=table) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            rest = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            rest = b""
        writer.close()

    assert rest == b""


def test_files_that_cannot_be_used_stop_the_start(files, tmp_path):
    write_certificate(tmp_path / "other.crt", tmp_path / "other.key", "other")

    with pytest.raises(SettingsError, match=r"^server\.tls\.certFile: .*MISMATCH"):
        ServerCertificate(files.cert_file, tmp_path / "other.key")
    with pytest.raises(SettingsError, match=r"^server\.tls\.certFile: .*No such file"):
        ServerCertificate(files.cert_file, tmp_path / "nothing.key")
    with pytest.raises(SettingsError, match=r"^certFile: .*keyFile is not set"):
        load(TlsConfig, {"certFile": str(files.cert_file)})
