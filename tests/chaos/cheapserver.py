"""A Modern MCP server on the standard library alone, that starts in an instant: `cheapserver.py PORT`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESULTS = {
    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"},
    "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], "resultType": "complete"},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method, ident = message.get("method"), message.get("id")
        if self.headers.get("mcp-protocol-version") != "2026-07-28":
            refusal = {"code": -32022, "message": "unsupported version"}
            self._answer(400, {"jsonrpc": "2.0", "id": None, "error": refusal})
        elif method in RESULTS:
            self._answer(200, {"jsonrpc": "2.0", "id": ident, "result": RESULTS[method]})
        else:
            unknown = {"code": -32601, "message": "method not found"}
            self._answer(404, {"jsonrpc": "2.0", "id": ident, "error": unknown})

    def _answer(self, status: int, message: object) -> None:
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    server.serve_forever()
