"""The load: wrk with ready-made requests, one thread. And single requests, to look at answers."""

import http.client
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.process import CHECKER_CORE, pinned

LOAD_CORE: Final = CHECKER_CORE + 1
MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"

_SCRIPT: Final = Path(__file__).with_name("requests.lua")
_TIMEOUT_S: Final = 30
_ENVELOPE: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True, slots=True)
class Door:
    """An MCP endpoint as one client sees it.

    Attributes:
        session: Legacy session id; empty = none asked for, or Modern.
        tool: a tool's name here, of its `{own}` at its backend and the number of that `{backend}`.
    """

    port: int
    host: str = "127.0.0.1"
    modern: bool = False
    session: str = ""
    tool: str = "{own}"

    def call(self, own: str = "echo", backend: int = 1, size: int = 1024) -> bytes:
        """A `tools/call` with so many bytes of arguments."""
        name = self.tool.format(own=own, backend=backend)
        return self.request("tools/call", {"name": name, "arguments": {"msg": "x" * (size - 10)}}, name)

    def request(self, method: str, params: Mapping[str, object], name: str = "") -> bytes:
        """A whole HTTP request."""
        headers, body = self.message(method, params, name)
        head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        return f"POST /mcp HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def message(self, method: str, params: Mapping[str, object], name: str = "") -> tuple[dict[str, str], bytes]:
        """Headers but the length, and body."""
        headers = {
            "host": f"{self.host}:{self.port}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        if self.modern:
            params = {**params, "_meta": _ENVELOPE}
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            headers |= {"mcp-name": name} if name else {}
        elif self.session:
            headers |= {"mcp-session-id": self.session, "mcp-protocol-version": LEGACY}
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return headers, json.dumps(message, separators=(",", ":")).encode()

    def ask(self, method: str, params: Mapping[str, object], name: str = "") -> tuple[Any, str]:
        """Send one request; the JSON-RPC answer and the session id that came with it."""
        headers, body = self.message(method, params, name)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", "/mcp", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        data = text.rpartition(b"data:")[2] if text.startswith((b"event:", b"data:", b"id:", b":")) else text
        return json.loads(data), answer.getheader("mcp-session-id", "")

    def initialize(self) -> str:
        """A new Legacy session's id."""
        return self.ask("initialize", INITIALIZE)[1]


INITIALIZE: Final = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What wrk saw. Milliseconds."""

    requests: int
    wall_s: float
    failed: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    cpu_us: float = field(default=0.0)


def wrk_binary() -> str:
    """wrk, by PATH.

    Raises:
        LookupError: it is not installed.
    """
    found = shutil.which("wrk")
    if found is None:
        raise LookupError("wrk is not installed; get it with: apt-get install wrk, or your system's packages")
    return found


def run_wrk(door: Door, requests: Sequence[bytes], *, connections: int, seconds: float) -> Turn:
    """Load the endpoint; every answer but a 2xx counts as failed."""
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        file.write(b"\0".join(requests))
        file.flush()
        command, env = wrk_command(door, file.name, connections=connections, seconds=seconds)
        output = subprocess.run(
            command,
            env=env,
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds + 2 * _TIMEOUT_S,
        ).stdout
    seen = json.loads(output.strip().splitlines()[-1])
    return Turn(
        requests=seen["requests"],
        wall_s=seen["wall_us"] / 1e6,
        failed=seen["failed"],
        p50_ms=seen["p50_us"] / 1e3,
        p99_ms=seen["p99_us"] / 1e3,
        most_ms=seen["most_us"] / 1e3,
    )


def wrk_command(door: Door, requests: str, *, connections: int, seconds: float) -> tuple[list[str], dict[str, str]]:
    """Command and environment; `requests` is a file of requests that zero bytes separate."""
    command = [wrk_binary(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={_TIMEOUT_S}s"]
    command += ["--latency", "-s", str(_SCRIPT), f"http://{door.host}:{door.port}/mcp"]
    return pinned(command, LOAD_CORE), {**os.environ, "REQUESTS": requests}
