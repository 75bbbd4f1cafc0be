"""The access log says which call went where and how, and nothing of what was in it."""

import json
from typing import Any

import msgspec

from vmcp.gateway.accesslog import AccessLog
from vmcp.gateway.answer import CollectedAnswer
from vmcp.gateway.ask import Ask, fields_of
from vmcp.mcp.backend import Era


def ask(params: dict[str, Any], method: str = "tools/call", **more: Any) -> Ask:
    encoded = msgspec.json.encode(params)
    return Ask(method, encoded, CollectedAnswer(b"1", Era.LEGACY), fields_of(encoded), **more)


def lines(asked: Ask, *, share: float = 1.0, chance: float = 0.5, backend: str = "alpha") -> list[dict[str, Any]]:
    written: list[str] = []
    log = AccessLog(share, write=written.append, chance=lambda: chance, now=lambda: 1.23456)
    log.record(asked, backend, "ok", 0.0123456)
    return [json.loads(line) for line in written]


def test_a_line_says_what_went_where_and_how() -> None:
    trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert lines(ask({"name": "add", "arguments": {"a": 1}}, passed=(trace,))) == [
        {
            "time": 1.235,
            "method": "tools/call",
            "era": "legacy",
            "outcome": "ok",
            "ms": 12.346,
            "backend": "alpha",
            "name": "add",
            "trace": "0af7651916cd43dd8448eb211c80319c",
        }
    ]


def test_arguments_headers_and_uris_are_never_written() -> None:
    secret = "hunter2"
    call = ask({"name": "add", "arguments": {"token": secret}}, passed=(("x-api-key", secret),))
    read = ask({"uri": f"https://h/?token={secret}"}, "resources/read")
    assert secret not in json.dumps([*lines(call), *lines(read)])


def test_only_a_share_is_written() -> None:
    assert lines(ask({}), share=0.1, chance=0.09)
    assert lines(ask({}), share=0.1, chance=0.1) == []
    assert lines(ask({}), share=0.0, chance=0.0) == []


def test_a_line_stays_a_line_whatever_the_name() -> None:
    (line,) = lines(ask({"name": "a\nb" * 1000}), backend="")
    assert line["name"] == ("a\nb" * 1000)[:128]
    assert "backend" not in line
