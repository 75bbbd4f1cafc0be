import asyncio
import os
import random
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.world import PATIENCE_S, until
from tests.mcp.rawserver import Seen, answer, raw_server

from vmcp.api.category import ErrorCategory
from vmcp.mcp.connection import Connection, HttpResponse
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.mcp.transport import Peer, Request, TransportError

LIMIT = 1_000_000
PAUSE_AT = 256 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def ask(transport: HttpTransport, url: str, method: str = "POST", timeout: float = PATIENCE_S) -> bytes:
    response = await transport.send(Request(method, url, (("accept", "*/*"),), b"{}"), timeout=timeout)
    return await response.read(limit=LIMIT, timeout=timeout)


def saying(*pieces: bytes, close: bool = False):
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if close:
            writer.close()

    return script


@pytest.mark.parametrize(
    ("pieces", "close", "body"),
    [
        ([answer("200 OK", b"whole")], False, b"whole"),
        ([CHUNKED + b"2\r\nab\r\n", b"3;x=y\r\ncde\r\n0\r\nx: y\r\n\r\n"], False, b"abcde"),
        ([b"HTTP/1.1 200 OK\r\n\r\nuntil", b" close"], True, b"until close"),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"], True, b"ok"),
        (
            [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", answer("200 OK", b"x")],
            False,
            b"x",
        ),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], False, b""),
        ([b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n"], False, b""),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], False, b""),
    ],
)
async def test_every_framing_is_read(transport: HttpTransport, pieces: list[bytes], close: bool, body: bytes) -> None:
    async with raw_server(saying(*pieces, close=close)) as server:
        assert await ask(transport, server.url) == body


async def test_a_head_request_has_no_body(transport: HttpTransport) -> None:
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")) as server:
        assert await ask(transport, server.url, "HEAD") == b""


@pytest.mark.parametrize(
    ("pieces", "close", "category"),
    [
        ([], True, ErrorCategory.CONNECT),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"], True, ErrorCategory.CONNECT),
        ([CHUNKED + b"5\r\nab"], True, ErrorCategory.CONNECT),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], False, ErrorCategory.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"], False, ErrorCategory.PROTOCOL),
        (
            [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n"],
            False,
            ErrorCategory.PROTOCOL,
        ),
        (
            [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
            False,
            ErrorCategory.PROTOCOL,
        ),
        ([answer("200 OK", b"one") + answer("200 OK", b"two")], False, ErrorCategory.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n"], False, ErrorCategory.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nx: ", *[b"y" * 10_000] * 20], False, ErrorCategory.PROTOCOL),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" * 1000] * 5, False, ErrorCategory.PROTOCOL),
        ([CHUNKED + b"0\r\n", *[b"x: " + b"y" * 10_000] * 20], False, ErrorCategory.PROTOCOL),
        (
            [b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n", *[b"x" * 100_000] * 15],
            False,
            ErrorCategory.PROTOCOL,
        ),
    ],
)
async def test_broken_answers_have_their_category(
    transport: HttpTransport, pieces: list[bytes], close: bool, category: ErrorCategory
) -> None:
    async with raw_server(saying(*pieces, close=close)) as server:
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.url)
        assert caught.value.category is category
        assert not caught.value.reused


async def test_an_unfinished_answer_costs_the_time_allowed(transport: HttpTransport) -> None:
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")) as server:
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.url, timeout=0.2)
        assert caught.value.category is ErrorCategory.TIMEOUT


async def test_a_silent_server_costs_the_time_allowed_and_the_connection_is_dropped(transport: HttpTransport) -> None:
    async with raw_server(saying()) as server:
        for _ in range(2):
            with pytest.raises(TransportError) as caught:
                await ask(transport, server.url, timeout=0.1)
            assert caught.value.category is ErrorCategory.TIMEOUT
            assert caught.value.before_answer
        await until(lambda: server.connections == 2)


async def test_nobody_listening_is_connect_and_not_sent(transport: HttpTransport) -> None:
    async with raw_server(saying()) as server:
        url = server.url
    with pytest.raises(TransportError) as caught:
        await ask(transport, url)
    assert (caught.value.category, caught.value.sent) == (ErrorCategory.CONNECT, False)


async def test_a_server_that_closes_what_it_accepts_uses_up_no_connection() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True), connections_per_origin=1)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    for _ in range(30):
        with pytest.raises(TransportError) as caught:
            await ask(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert caught.value.category is ErrorCategory.CONNECT
    server.close()
    await transport.close()


async def test_running_out_of_sockets_is_no_failure_of_the_backend(transport: HttpTransport) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(next_descriptor := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_descriptor, hard))
    try:
        with pytest.raises(TransportError) as caught:
            await ask(transport, "http://127.0.0.1:1/")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.category is ErrorCategory.CANCELLED


async def test_a_name_that_does_not_resolve_is_dns(transport: HttpTransport) -> None:
    with pytest.raises(TransportError) as caught:
        await ask(transport, "http://no-such-host.invalid/mcp")
    assert caught.value.category is ErrorCategory.DNS
    assert "no-such-host.invalid" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http://", "/mcp", "http://a b/", "http://[::1/", "http://a..b/", f"http://{'a' * 64}.b/"]
)
async def test_what_is_no_url_is_protocol(transport: HttpTransport, url: str) -> None:
    with pytest.raises(TransportError) as caught:
        await ask(transport, url)
    assert caught.value.category is ErrorCategory.PROTOCOL


async def test_the_guard_judges_the_address_behind_a_name() -> None:
    transport = HttpTransport(guard=AddressGuard())
    async with raw_server(saying(answer("200 OK"))) as server:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            with pytest.raises(TransportError) as caught:
                await ask(transport, f"http://{host}:{server.port}/")
            assert caught.value.category is ErrorCategory.FORBIDDEN
            assert "loopback" in str(caught.value)
        assert server.connections == 0
    await transport.close()


async def test_one_connection_serves_many_requests(transport: HttpTransport) -> None:
    async with raw_server(saying(answer("200 OK", b"x"))) as server:
        for _ in range(20):
            assert await ask(transport, server.url) == b"x"
        assert server.connections == 1
        await transport.send(Request("POST", server.url), timeout=PATIENCE_S, fresh=True)
        assert server.connections == 2


async def test_a_connection_idle_for_too_long_is_not_used(transport: HttpTransport) -> None:
    async with raw_server(saying(answer("200 OK", b"x"))) as server:
        await ask(transport, server.url)
        await asyncio.sleep(0.05)
        await transport.send(Request("POST", server.url), timeout=PATIENCE_S, reuse_idle_seconds=0.01)
        assert server.connections == 2


async def test_a_server_that_closes_after_an_answer_is_told_apart_from_one_that_fails(transport: HttpTransport) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 1:
            writer.write(answer("200 OK", b"x"))
        else:
            writer.transport.abort()

    async with raw_server(script) as server:
        await ask(transport, server.url)
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.url)
        assert caught.value.reused
        assert caught.value.before_answer


async def test_bytes_that_nobody_asked_for_end_the_connection(transport: HttpTransport) -> None:
    taken = asyncio.Event()

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", b"one"))
        await taken.wait()
        writer.write(answer("200 OK", b"poison"))

    async with raw_server(script) as server:
        assert await ask(transport, server.url) == b"one"
        taken.set()
        await until(lambda: server.ended == 1)
        taken.clear()
        assert await ask(transport, server.url) == b"one"
        assert server.connections == 2


async def test_more_requests_than_connections_wait_their_turn() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True), connections_per_origin=2)
    async with raw_server(saying(answer("200 OK", b"x"))) as server:
        answers = await asyncio.gather(*(ask(transport, server.url) for _ in range(20)))
        assert answers == [b"x"] * 20
        assert server.connections == 2
    await transport.close()


async def test_waiting_for_a_connection_costs_the_time_allowed_and_cancelling_frees_its_turn() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True), connections_per_origin=1)
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n")) as server:
        held = await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.url, timeout=0.05)
        assert (caught.value.category, caught.value.sent) == (ErrorCategory.TIMEOUT, False)
        waiting = asyncio.create_task(ask(transport, server.url))
        await asyncio.sleep(0.01)
        waiting.cancel()
        held.close()
        await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
    await transport.close()


async def test_a_slow_reader_slows_the_server_down(transport: HttpTransport) -> None:
    sent = 0

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 1
        writer.close()

    async with raw_server(script) as server:
        response = await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
        await asyncio.sleep(0.3)
        assert sent < 300
        total = 0
        async for chunk in response.chunks(idle_timeout=PATIENCE_S):
            total += len(chunk)
        assert total == 100_000_000


async def test_a_large_answer_leaves_its_connection_fit_for_the_next(transport: HttpTransport) -> None:
    body = b"x" * 300_000
    async with raw_server(saying(answer("200 OK", body))) as server:
        for _ in range(3):
            response = await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
            assert isinstance(response, HttpResponse)
            # So much arrives before anybody reads that reading pauses.
            await until(lambda each=response: len(each.so_far()) > PAUSE_AT)
            assert await response.read(limit=LIMIT, timeout=PATIENCE_S) == body
        assert server.connections == 1


async def test_cancelling_at_random_loses_no_connection() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True), connections_per_origin=3)
    dice = random.Random(1)
    async with raw_server(saying(answer("200 OK", b"x"))) as server:

        async def impatient() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(dice.random() * 0.1):
                    await ask(transport, server.url)

        for _ in range(10):
            await asyncio.gather(*(impatient() for _ in range(30)))
            assert (
                await asyncio.gather(*(ask(transport, server.url, timeout=PATIENCE_S) for _ in range(3))) == [b"x"] * 3
            )
    await transport.close()


async def test_a_stream_that_falls_silent_is_a_timeout(transport: HttpTransport) -> None:
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\n\r\nfirst")) as server:
        response = await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
        chunks = response.chunks(idle_timeout=0.1)
        assert await anext(chunks) == b"first"
        with pytest.raises(TransportError) as caught:
            await anext(chunks)
        assert caught.value.category is ErrorCategory.TIMEOUT


async def test_a_released_answer_lets_its_connection_serve_again(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmcp.mcp.connection._DISCARD_SECONDS", PATIENCE_S)
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"rest")) as server:
        response = await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
        assert isinstance(response, HttpResponse)
        response.release()
        await until(lambda: response.ended)
        await transport.send(Request("GET", server.url), timeout=PATIENCE_S)
        assert server.connections == 1


async def test_a_cancelled_request_drops_its_connection(transport: HttpTransport) -> None:
    async with raw_server(saying()) as server:
        request = asyncio.create_task(ask(transport, server.url))
        await until(lambda: len(server.requests) == 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        other = asyncio.create_task(ask(transport, server.url))
        await until(lambda: len(server.requests) == 2)
        assert [seen.connection for seen in server.requests] == [0, 1]
        other.cancel()


async def test_userinfo_and_fragment_are_not_sent(transport: HttpTransport) -> None:
    async with raw_server(saying(answer("200 OK"))) as server:
        await ask(transport, f"http://user:secret@127.0.0.1:{server.port}/a b?q=ü#frag")
        (seen,) = server.requests
        assert seen.target == "/a%20b?q=%C3%BC"
        assert seen.headers == {
            "host": f"127.0.0.1:{server.port}", "accept": "*/*", "content-length": "2"
        }  # fmt: skip


@pytest.mark.parametrize("header", [("x\r\ny", "z"), ("x", "y\r\nz: w"), ("x y", "z"), ("", "z"), ("x", "é")])
async def test_a_header_cannot_smuggle_another(transport: HttpTransport, header: tuple[str, str]) -> None:
    async with raw_server(saying(answer("200 OK"))) as server:
        with pytest.raises(TransportError) as caught:
            await transport.send(Request("GET", server.url, (header,)), timeout=PATIENCE_S)
        assert caught.value.category is ErrorCategory.PROTOCOL
        assert server.connections == 0


async def test_tls_to_a_server_without_tls_says_so(transport: HttpTransport) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer("400 Bad Request"))

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    with pytest.raises(TransportError, match="does not speak TLS on this port") as caught:
        await ask(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (caught.value.category, caught.value.sent) == (ErrorCategory.TLS, False)
    server.close()


@pytest.fixture
async def tls_server(certificate: tuple[str, str], tmp_path) -> AsyncIterator[str]:
    (tmp_path / "cert.pem").write_text(certificate[0])
    (tmp_path / "key.pem").write_text(certificate[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(2)
            writer.write(answer("200 OK", b"secret"))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    server.close()


async def test_a_certificate_is_checked_against_the_bundle(
    transport: HttpTransport, tls_server: str, certificate: tuple[str, str]
) -> None:
    async def with_peer(url: str, peer: Peer) -> bytes:
        response = await transport.send(Request("POST", url, (), b"{}", peer), timeout=PATIENCE_S)
        return await response.read(limit=LIMIT, timeout=PATIENCE_S)

    assert await with_peer(tls_server, Peer(ca_pem=certificate[0])) == b"secret"
    assert await with_peer(tls_server, Peer(verify=False)) == b"secret"
    with pytest.raises(TransportError, match="self-signed") as caught:
        await with_peer(tls_server, Peer())
    assert (caught.value.category, caught.value.sent) == (ErrorCategory.TLS, False)
    with pytest.raises(TransportError, match=r"another (host name|address)"):
        await with_peer(tls_server.replace("localhost", "127.0.0.1"), Peer(ca_pem=certificate[0]))
    with pytest.raises(TransportError, match="CA bundle"):
        await with_peer(tls_server, Peer(ca_pem="-----BEGIN CERTIFICATE-----\nnonsense"))


class _Wire(asyncio.Transport):
    """The write side of a connection whose bytes a test plays by hand."""

    def write(self, data: object) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def played(pieces: list[bytes], *, cut_off: bool = False) -> tuple[int, dict[str, str], bytes, bool]:
    """Status, headers, body and whether the connection stays usable."""

    async def play() -> tuple[int, dict[str, str], bytes, bool]:
        connection = Connection(asyncio.get_running_loop(), lambda _: None)
        connection.connection_made(_Wire())
        response: HttpResponse = connection.exchange(b"", bodiless=False)
        for piece in pieces:
            connection.data_received(piece)
        if cut_off:
            connection.connection_lost(None)
        await response.head(asyncio.get_running_loop().time() + 1)
        body = await response.read(limit=LIMIT, timeout=1)
        return response.status, dict(response.headers), body, not connection.closed

    return asyncio.run(play())


@settings(max_examples=60, deadline=None)
@given(
    body=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    chunked=st.booleans(),
    borders=st.lists(st.integers(0, 1000), max_size=10),
)
def test_borders_of_segments_change_nothing(body: list[bytes], chunked: bool, borders: list[int]) -> None:
    if chunked:
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in body) + b"0\r\n\r\n"
        data = b"HTTP/1.1 200 OK\r\nx-a: 1\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
    else:
        whole = b"".join(body)
        data = b"HTTP/1.1 200 OK\r\nx-a: 1\r\nX-A: 2\r\nContent-Length: %d\r\n\r\n%b" % (len(whole), whole)
    places = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(places) if end > begin]
    status, headers, read, usable = played(pieces)
    assert (status, headers["x-a"], read, usable) == (200, "1, 2", b"".join(body), True)


_GOOD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(_GOOD)), st.binary(max_size=6)), min_size=1, max_size=4),
    border=st.integers(0, len(_GOOD)),
)
def test_broken_bytes_end_in_an_answer_or_in_our_error(edits: list[tuple[int, bytes]], border: int) -> None:
    data = _GOOD
    for place, inserted in edits:
        data = data[:place] + inserted + data[place + len(inserted) // 2 :]
    with suppress(TransportError):
        status, _, body, _ = played([data[:border], data[border:]], cut_off=True)
        assert status >= 200
        assert len(body) <= len(data)


def test_it_runs_under_uvloop() -> None:
    async def main() -> None:
        transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
        async with raw_server(saying(answer("200 OK", b"x"))) as server:
            for _ in range(3):
                assert await ask(transport, server.url) == b"x"
            assert server.connections == 1
        with pytest.raises(TransportError):
            await ask(transport, server.url)
        await transport.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
