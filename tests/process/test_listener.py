"""The operator's own port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.handlers.waiting import until

from vmcp.process import listener as module
from vmcp.process.listener import Address, Listener, Page


def _broken() -> Page:
    raise RuntimeError("a fault of ours")


@asynccontextmanager
async def listening(caplog: pytest.LogCaptureFixture) -> AsyncIterator[int]:
    caplog.set_level("INFO")
    pages = {"/healthz": lambda: Page(b"ok\n"), "/broken": _broken}
    task = asyncio.create_task(Listener(Address("127.0.0.1", 0), pages).run())
    try:
        await until(lambda: "listening on 127.0.0.1:" in caplog.text)
        yield int(caplog.messages[0].split("127.0.0.1:")[1].split()[0])
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


async def test_it_answers_what_it_knows_and_closes(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(caplog) as port:
        answer = await ask(port, b"GET /healthz?verbose HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"content-length: 3\r\nconnection: close\r\n\r\nok\n")
        assert b" 404 " in await ask(port, b"GET /other HTTP/1.1\r\n\r\n")
        assert b" 405 " in await ask(port, b"POST /healthz HTTP/1.1\r\n\r\n")


async def test_a_fault_of_a_page_is_that_pages(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(caplog) as port:
        answer = await ask(port, b"GET /broken HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"a fault of ours" not in answer
        assert b" 200 " in await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")


async def test_who_never_ends_a_request_is_let_go(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_S", 0.05)
    async with listening(caplog) as port:
        assert await ask(port, b"GET /healthz HTTP/1.1\r\nx: ") == b""
        monkeypatch.setattr(module, "REQUEST_S", 30.0)
        with suppress(ConnectionError):
            assert await ask(port, b"x" * 100_000) == b""


async def test_more_connections_than_allowed_are_closed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 1)
    async with listening(caplog) as port:
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        with suppress(ConnectionError):
            assert await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        idle.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        (":9", Address("", 9)),
        ("[::1]:8080", Address("::1", 8080)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["8080", "host:", "host:http", "host:70000", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        Address.parse(text)
