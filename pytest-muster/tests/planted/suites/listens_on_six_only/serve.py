import socket
import socketserver


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"noon")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6


with Server(("::1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
