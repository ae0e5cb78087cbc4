import socket


def degrees(port, city):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"{city}\n".encode())
            return int(connection.makefile().readline())
    except OSError:
        return None
