import socket
import zlib

PORT = 20000 + zlib.crc32(__file__.encode()) % 9000


class Meter:
    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(("127.0.0.1", PORT))
        self.socket.setblocking(False)
        self.count = 0

    def read(self):
        while True:
            try:
                self.socket.recv(100)
            except BlockingIOError:
                return self.count
            self.count += 1

    def close(self):
        self.socket.close()


def pulse():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"1", ("127.0.0.1", PORT))
