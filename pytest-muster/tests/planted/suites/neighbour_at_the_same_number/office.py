import socket
import socketserver
import threading


def serve(address, name, port=0):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(name.encode())

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    server = Server((address, port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def ask(hosts, port):
    for host in hosts:
        try:
            with socket.create_connection((host, port), timeout=5) as connection:
                return connection.recv(100).decode()
        except OSError:
            continue
    return None
