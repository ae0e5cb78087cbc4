import os
import socketserver
import sys

pages = []


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        pages.append(self.rfile.readline())
        if len(pages) > 9:
            print("ledger: page 9 is full and there is no page 10", flush=True)
            os._exit(3)
        self.wfile.write(b"booked\n")


socketserver.TCPServer.allow_reuse_address = True
with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    print("ledger: open", flush=True)
    server.serve_forever()
