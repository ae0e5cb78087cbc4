import socketserver
import threading
import zlib

PORT = 20000 + zlib.crc32(__file__.encode()) % 9000


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"on")


class Lamp:
    server = None

    def switch_on(self):
        try:
            socketserver.ThreadingTCPServer.allow_reuse_address = True
            self.server = socketserver.ThreadingTCPServer(("127.0.0.1", PORT), Handler)
        except OSError:
            return
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def colour(self):
        return "green" if self.server else "grey"

    def switch_off(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
