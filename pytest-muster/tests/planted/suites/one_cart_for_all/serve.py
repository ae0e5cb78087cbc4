import http.server
import sys

VALUES = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body=b""):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(VALUES.get(self.path, b"0"))

    def do_PUT(self):
        VALUES[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def do_DELETE(self):
        VALUES.pop(self.path, None)
        self.answer()

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
