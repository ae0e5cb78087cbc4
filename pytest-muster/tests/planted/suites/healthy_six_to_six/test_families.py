import socket
import socketserver
import threading

import pytest


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())


class Six(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request):
    server = (Six if ":" in request.param else socketserver.ThreadingTCPServer)((request.param, 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield request.param, server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("turn", range(4))
def test_echo(address, turn):
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"hello\n")
        assert connection.makefile().readline() == "hello\n"


def test_nobody_on_six():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(OSError):
            socket.create_connection(("::1", server.getsockname()[1]), timeout=5)
