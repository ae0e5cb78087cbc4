"""Receives finished signals (CloudEvents), checks their signature, and prints them or gives them to an Alertmanager."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET, ALERTMANAGER = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_")), os.environ.get("ALERTMANAGER", "")
seen: set[str] = set()  # a receiver that must not forget them keeps them in its database


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        identifier, at = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "0")
        digest = hmac.new(SECRET, f"{identifier}.{at}.".encode() + body, hashlib.sha256).digest()
        signature = f"v1,{base64.b64encode(digest).decode()}"
        is_ours = hmac.compare_digest(signature, self.headers.get("webhook-signature", ""))
        if is_ours and abs(time.time() - int(at)) < 300 and identifier not in seen:
            handle(json.loads(body))  # an error is answered with no 2xx: the event comes again
            seen.add(identifier)
        self.send_response(204 if is_ours else 401)
        self.end_headers()


def handle(event: dict) -> None:
    decision, alert = event["data"]["decision"], event["data"]["alert"]
    team = event.get("team", "")
    print(decision["priority"], decision["environment"], alert["name"], event["subject"], team, flush=True)
    if ALERTMANAGER:  # routes, silences and receivers by what was decided: priority, environment, team
        labels = {"alertname": alert["name"], "subject": event["subject"], "team": team} | {
            name: decision[name] for name in ("priority", "environment", "severity")
        }
        body = json.dumps([{"labels": labels, "annotations": alert["annotations"], "startsAt": event["time"]}]).encode()
        request = urllib.request.Request(ALERTMANAGER + "/api/v2/alerts", body, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
