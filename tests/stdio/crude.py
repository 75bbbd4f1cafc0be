"""A stdio server without an SDK: says what no SDK says, and tells what it was sent.

A tool's `arguments` say what it does; see `_call`.
"""

import json
import os
import sys
import threading
import time
from typing import Any

_seen: list[dict[str, Any]] = []
_asking: dict[int, Any] = {}
_held: list[Any] = []
_write = threading.Lock()


def _put(line: str) -> None:
    with _write:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _say(message: dict[str, Any]) -> None:
    _put(json.dumps({"jsonrpc": "2.0", **message}))


def _answer(ident: Any, text: str) -> None:
    _say({"id": ident, "result": {"content": [{"type": "text", "text": text}]}})


def _call(ident: Any, params: dict[str, Any]) -> None:
    arguments = params.get("arguments", {})
    token = params.get("_meta", {}).get("progressToken")
    match params["name"]:
        case "echo":
            for step in range(arguments.get("steps", 0)):
                _say({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
            threading.Timer(arguments.get("seconds", 0), _answer, (ident, arguments["text"])).start()
        case "garbage":
            for line in ("hello", "{not json", "[1, 2]", "{}", '"text"', "", "\x00\xff", '{"id": 5}', "null"):
                _put(line)
            _answer(ident, "after all that")
        case "long":
            _answer(ident, "x" * arguments["size"])
        case "long_id_last":
            result = {"content": [{"type": "text", "text": "x" * arguments["size"]}]}
            _put(json.dumps({"result": result, "jsonrpc": "2.0", "id": ident}))
        case "foreign":
            for stranger in (1, 2, str(ident), 10**30, None):
                _answer(stranger, "for somebody else")
            threading.Timer(0.1, _answer, (ident, "for you")).start()
        case "silence":
            pass
        case "hold":
            _held.append(ident)
        case "release":
            while _held:
                _answer(_held.pop(), "late")
            _answer(ident, "released")
        case "seen":
            _answer(ident, json.dumps(_seen))
        case "ask":
            _asking[ident] = ident
            _say({"id": ident, "method": arguments["method"], "params": arguments.get("params", {})})
        case "tell":
            _say({"method": arguments["method"], "params": arguments["params"]})
            _answer(ident, "told")
        case "after":
            # In one piece: whoever reads the one has read the other.
            answer = {"jsonrpc": "2.0", "id": ident, "result": {"content": [{"type": "text", "text": "told after"}]}}
            _put(json.dumps(answer) + "\n" + json.dumps({"jsonrpc": "2.0", **arguments}))
        case "flood":
            _answer(ident, "flooded")
            for number in range(arguments["times"]):
                _say({"method": "notifications/message", "params": {"level": "info", "data": number}})
        case "deaf":
            # Answers, and reads nothing for a while.
            _answer(ident, "deaf")
            time.sleep(arguments["seconds"])
        case "die":
            os._exit(3)
        case "complain":
            sys.stderr.write(arguments["text"] + "\n")
            sys.stderr.flush()
            _answer(ident, "complained")
        case name:
            _say({"id": ident, "error": {"code": -32602, "message": f"no tool {name}", "data": {"name": name}}})


def _take(message: dict[str, Any]) -> None:
    ident, method = message.get("id"), message.get("method")
    if method is None:
        _answer(_asking.pop(ident), json.dumps(message.get("result") or message.get("error")))
    elif method == "initialize":
        capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
        info = {"name": "crude", "version": "1"}
        version = os.environ.get("CRUDE_VERSION") or message["params"]["protocolVersion"]
        _say(
            {
                "id": ident,
                "result": {
                    "protocolVersion": version,
                    "capabilities": capabilities,
                    "serverInfo": info,
                    "instructions": "Mind the step.",
                },
            }
        )
    elif method == "tools/call":
        _call(ident, message["params"])
    elif ident is not None:
        _say({"id": ident, "result": {"method": method}})


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        _seen.append(message)
        _take(message)


if __name__ == "__main__":
    main()
