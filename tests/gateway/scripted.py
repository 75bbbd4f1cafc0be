"""A server whose every answer is given by the test, byte for byte, for what no SDK server would send."""

import json
from typing import Any


class Scripted:
    """Speaks one era. `results` holds the raw result of each method; requests are kept as they came."""

    def __init__(self, results: dict[str, bytes], *, modern: bool) -> None:
        self.results = results
        self.modern = modern
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["method"] != "POST":
            await self._send(send, 405, b"")
            return
        request = json.loads(body)
        self.requests.append(request)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self._answer(request, receive, send)

    async def _answer(self, request: dict[str, Any], receive: Any, send: Any) -> None:
        if "id" not in request:
            await self._send(send, 202, b"")
            return
        result = self._result(request["method"])
        ident = json.dumps(request["id"]).encode()
        if result is None:
            error = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"unknown"}}' % ident
            await self._send(send, 404 if self.modern else 200, error)
        else:
            await self._send(send, 200, b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (ident, result))

    def last(self, method: str) -> dict[str, Any]:
        return next(request for request in reversed(self.requests) if request["method"] == method)

    def last_headers(self, method: str) -> dict[str, str]:
        pairs = zip(self.requests, self.headers, strict=True)
        return next(headers for request, headers in reversed(list(pairs)) if request["method"] == method)

    def _result(self, method: str) -> bytes | None:
        if method in self.results:
            return self.results[method]
        capabilities = b'{"tools":{},"resources":{},"prompts":{}}'
        tail = b',"resultType":"complete","ttlMs":0,"cacheScope":"private"}' if self.modern else b"}"
        match method:
            case "server/discover" if self.modern:
                return b'{"supportedVersions":["2026-07-28"],"capabilities":' + capabilities + tail
            case "initialize" if not self.modern:
                info = b'"serverInfo":{"name":"scripted","version":"1"}}'
                return b'{"protocolVersion":"2025-11-25","capabilities":' + capabilities + b"," + info
            case "ping" if not self.modern:
                return b"{}"
            case "tools/list":
                return b'{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]' + tail
            case "resources/list":
                return b'{"resources":[{"uri":"demo://doc","name":"doc"}]' + tail
            case "resources/templates/list":
                return b'{"resourceTemplates":[]' + tail
            case "prompts/list":
                return b'{"prompts":[]' + tail
        return None

    async def _send(self, send: Any, status: int, body: bytes) -> None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
