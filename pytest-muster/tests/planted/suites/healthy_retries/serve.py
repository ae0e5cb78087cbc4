import socketserver
import sys
import time


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"fine")


time.sleep(0.5)
socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
