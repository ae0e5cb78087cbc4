import socketserver
import sys
from collections import defaultdict

TOPICS = defaultdict(list)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        verb, topic, *rest = self.rfile.readline().decode().split()
        if verb == "publish":
            TOPICS[topic].append(rest[0])
        elif TOPICS[topic]:
            self.wfile.write(f"{TOPICS[topic].pop(0)}\n".encode())


socketserver.TCPServer.allow_reuse_address = True
with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
