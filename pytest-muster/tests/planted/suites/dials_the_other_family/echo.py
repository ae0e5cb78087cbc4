import socket
import socketserver
import threading


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())


class Service:
    def __init__(self):
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def say(port, text):
    try:
        with socket.create_connection(("::1", port), timeout=5) as connection:
            connection.sendall(f"{text}\n".encode())
            return connection.makefile().readline().strip()
    except OSError:
        return None
