import socketserver
import sys
import time


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        city = self.rfile.readline().decode().strip()
        self.wfile.write(f"{len(city)}\n".encode())


time.sleep(0.5)  # the measurements are read
socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
