import socket
import socketserver
import threading
import time


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        count = int(self.rfile.readline())
        time.sleep(0.7 if count > 100 else 0)
        try:
            self.wfile.write(f"{count * 3}\n".encode())
        except OSError:
            pass


class Service:
    def __init__(self):
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def quote(port, count):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.3) as connection:
            connection.sendall(f"{count}\n".encode())
            return int(connection.makefile().readline())
    except OSError:
        return None
