import http.server
import json
import os
import sys
from pathlib import Path

STOCK = {"/apple": 7, "/pear": 5}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(STOCK.get(self.path, 0)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
info = Path(sys.argv[1])
info.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), "port": server.server_port}))
info.with_suffix(".new").rename(info)
server.serve_forever()
