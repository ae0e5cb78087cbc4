import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": self.path, "tiles": 16}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def vanish():
    time.sleep(0.8)
    os.kill(os.getpid(), signal.SIGKILL)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
info = Path(sys.argv[1])
info.with_suffix(".new").write_text(str(server.server_port))
info.with_suffix(".new").rename(info)
threading.Thread(target=vanish, daemon=True).start()
server.serve_forever()
