import socket


class Broker:
    def __init__(self, port):
        self.port = port

    def _say(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\n")
            return connection.makefile().readline().strip()

    def publish(self, topic, text):
        self._say("publish", topic, text)

    def take(self, topic):
        return self._say("take", topic) or None
