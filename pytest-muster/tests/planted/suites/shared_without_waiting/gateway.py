import socket


class GatewayError(Exception):
    pass


def charge(port, amount):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"%d\n" % amount)
            return int(connection.makefile().readline())
    except Exception:
        raise GatewayError(f"request about {amount} was not handled") from None
