import socketserver
import sys
import time


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        amount = int(self.rfile.readline())
        self.wfile.write(b"%d\n" % (amount * 2))


time.sleep(0.8)
socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
