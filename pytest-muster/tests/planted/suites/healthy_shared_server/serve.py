import socketserver
import sys

VALUES = {}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        key, *value = self.rfile.readline().decode().split()
        if value:
            VALUES[key] = value[0]
        self.wfile.write(VALUES.get(key, "-").encode())


socketserver.TCPServer.allow_reuse_address = True
with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
