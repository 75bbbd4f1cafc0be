"""A backend's answer may end, be reset or fall silent at any byte: its client gets one answer, with its id, in time."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.wire import Wire
from tests.gateway.world import PATIENCE_S, Running, config, entry, gateway, until

CLIENTS = 100
SILENCE_S = 1
"""A call may take so long, where a backend says no more."""

_HEAD = b"HTTP/1.1 200 OK\r\n"
_JSON = _HEAD + b"content-type: application/json\r\n"
_STREAM = _HEAD + b"content-type: text/event-stream\r\n"
_PROGRESS = b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}\n\n'


def _sized(head: bytes, body: bytes) -> bytes:
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def _chunked(head: bytes, *pieces: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def forms(message: bytes) -> dict[str, tuple[bytes, int]]:
    """Ways to write the answer, each with the byte from which on nothing is missing of it."""
    half = len(message) // 2
    event = b"data: " + message + b"\n\n"
    sized, chunked = _sized(_JSON, message), _chunked(_JSON, message[:half], message[half:])
    # Who comes to the end of the response has all of it, however the stream ends.
    stream = _sized(_STREAM, event)
    talking = _chunked(_STREAM, _PROGRESS, event)
    return {
        "json": (sized, len(sized)),
        "chunked json": (chunked, len(chunked)),
        "stream": (stream, len(stream)),
        "stream with progress": (talking, talking.index(event) + len(event)),
    }


class Cutting:
    """A server of one tool, which ends its answers where and how the arguments say."""

    def __init__(self, *, modern: bool) -> None:
        self.modern = modern
        self.closing = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        finally:
            self.closing.set()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                message = json.loads(body) if body else {}
                if message.get("method") == "tools/call":
                    await self._cut(message, writer)
                elif "id" in message:
                    writer.write(_sized(_JSON, self._plain(message["method"], message["id"])))
                else:
                    status = b"202 Accepted" if body else b"405 Method Not Allowed"
                    writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)
        writer.close()

    async def _cut(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        wanted = message["params"]["arguments"]
        answer, _ = forms(_said(message["id"], modern=self.modern))[wanted["form"]]
        writer.write(answer[: wanted["cut"]])
        await writer.drain()
        if wanted["how"] == "silence":
            await self.closing.wait()
        elif wanted["how"] == "reset":
            # What is on its way shall arrive before the reset does.
            await asyncio.sleep(0.02)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    def _plain(self, method: str, ident: Any) -> bytes:
        tail = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if self.modern else {}
        offered = {"capabilities": {"tools": {}}, **tail}
        info = {"serverInfo": {"name": "cutting", "version": "1"}}
        results: dict[str, Any] = {
            "tools/list": {"tools": [{"name": "cut", "inputSchema": {"type": "object"}}], **tail}
        }
        if self.modern:
            results["server/discover"] = {"supportedVersions": ["2026-07-28"], **offered}
        else:
            results |= {"initialize": {"protocolVersion": "2025-11-25", **offered, **info}, "ping": {}}
        answer = {"result": results[method]} if method in results else {"error": {"code": -32601, "message": "unknown"}}
        return json.dumps({"jsonrpc": "2.0", "id": ident, **answer}).encode()


def _said(ident: int, *, modern: bool) -> bytes:
    tail = ',"resultType":"complete"' if modern else ""
    # The id of a request to the backend has as many digits as it likes: the length must not depend on it.
    return f'{{"jsonrpc":"2.0","id":{ident:>6},"result":{{"content":[]{tail}}}}}'.encode()


@contextlib.asynccontextmanager
async def world(
    folder: Path, *, modern: bool, call_s: int
) -> AsyncIterator[tuple[Running, dict[str, str], dict[str, Any]]]:
    """The gateway, headers of a call, and the `_meta` of one. No breaker: every answer is the backend's."""
    operational = {
        "failureHandling": {"healthCheckInterval": "1h", "healthCheckTimeout": "30s"},
        "timeouts": {"default": f"{call_s}s"},
    }
    async with (
        Cutting(modern=modern).serve() as url,
        gateway(folder, config(entry("c", url), operational=operational)) as running,
    ):
        client = ModernSpeaker(running) if modern else await LegacySpeaker.open(running)

        async def listed() -> bool:
            return "c_cut" in (await client.ask("tools/list")).text

        await until(listed)
        meta: dict[str, Any] = {"progressToken": 1}
        if isinstance(client, LegacySpeaker):
            headers = {"mcp-session-id": client.session}
        else:
            headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "c_cut"}
            prefix = "io.modelcontextprotocol/"
            meta |= {f"{prefix}protocolVersion": "2026-07-28", f"{prefix}clientCapabilities": {}}
        yield running, headers, meta


def _answered(messages: list[dict[str, Any]], ident: str, *, whole: bool | None) -> None:
    """Progress, perhaps, and then one response: a result where the answer was whole (None = perhaps), else an error."""
    *before, response = messages
    assert [message["method"] for message in before] in ([], ["notifications/progress"])
    assert response["id"] == ident
    assert ("result" in response) != ("error" in response)
    if whole is None:
        return
    assert ("result" in response) is whole, response
    if not whole:
        assert response["error"]["code"] in (-32603, -32003)


async def _try_all(
    running: Running, headers: dict[str, str], meta: dict[str, Any], cases: Iterator[tuple[str, int, str, Any]]
) -> int:
    """Every case by one of many clients, on a connection that serves on after it. Returns how many there were."""
    done = 0

    async def one() -> None:
        nonlocal done
        wire = await Wire.open(running.origin)
        for form, cut, how, whole in cases:
            done += 1
            ident = f"{form} {cut} {how}"
            params = {"name": "c_cut", "arguments": {"form": form, "cut": cut, "how": how}, "_meta": meta}
            message = {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}
            # A second answer to this call would be read as the answer to the next one.
            _answered(await wire.ask(message, **headers), ident, whole=whole)
        wire.close()

    async with asyncio.timeout(4 * PATIENCE_S), asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(one())
    return done


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
async def test_an_answer_that_ends_at_any_byte_is_one_answer_to_the_client(
    tmp_path: Path, modern: bool, how: str
) -> None:
    def cases() -> Iterator[tuple[str, int, str, Any]]:
        for form, (answer, complete) in forms(_said(1, modern=modern)).items():
            for cut in range(len(answer) + 1):
                # A stream is whole with its last line; the line break after it may be one of the two.
                certain = cut >= complete or cut < complete - 2
                yield form, cut, how, cut >= complete if certain else None

    async with world(tmp_path, modern=modern, call_s=30) as (running, headers, meta):
        assert await _try_all(running, headers, meta, cases()) > 500


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
async def test_an_answer_that_falls_silent_at_any_byte_is_an_error_in_time(tmp_path: Path, modern: bool) -> None:
    def cases() -> Iterator[tuple[str, int, str, Any]]:
        for form, (_, complete) in forms(_said(1, modern=modern)).items():
            for cut in range(complete - 2):
                yield form, cut, "silence", False

    async with world(tmp_path, modern=modern, call_s=SILENCE_S) as (running, headers, meta):
        assert await _try_all(running, headers, meta, cases()) > 500
