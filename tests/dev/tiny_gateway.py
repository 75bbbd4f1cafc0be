"""Stands in for `vmcp serve`: an HTTP server that tells what it was given, and ends on demand."""

import argparse
import json
import os
import ssl
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("verb")
parser.add_argument("--config", type=Path)
parser.add_argument("--host")
parser.add_argument("--port", type=int)
options = parser.parse_args()
ACCOUNT = Path(os.environ["VMCP_SERVICEACCOUNT_DIR"])


def asked_of_kubernetes(path: str) -> int:
    """HTTP status of a GET with the pod's own token."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    token = (ACCOUNT / "token").read_text()
    request = urllib.request.Request(f"https://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/crash":
            print("crashing as asked", flush=True)
            os._exit(7)
        if self.path == "/hang":
            Path("sick").touch()
        sick = Path("sick").exists() and self.path == "/health"
        self.send_response(500 if sick else 200)
        self.end_headers()
        self.wfile.write(json.dumps(self.told()).encode())

    def told(self) -> dict[str, object]:
        namespace = (ACCOUNT / "namespace").read_text()
        if self.path.startswith("/kubernetes/"):
            return {"status": asked_of_kubernetes(self.path.removeprefix("/kubernetes"))}
        return {
            "pid": os.getpid(),
            "config": options.config.read_text(),
            "namespace": namespace,
            "env": {key: value for key, value in os.environ.items() if key.startswith("VMCP_")},
        }

    def log_message(self, *_: object) -> None:
        return


print("serving", options.verb, options.host, file=sys.stderr, flush=True)
ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
