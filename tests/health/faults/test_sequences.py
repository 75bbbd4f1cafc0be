"""Faults that are a matter of time: what a probe sees at first, and what it sees then."""

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.mcp.rawserver import RawServer, Seen, answer, modern, raw_server

from vmcp.api.category import ErrorCategory
from vmcp.health.outcome import Reading, reading_of
from vmcp.health.policy import HealthPolicy
from vmcp.health.probe import Probe
from vmcp.health.target import Target
from vmcp.mcp import pool
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.mcp.transport import Peer

Resolver = Callable[[str], list[str]]


@pytest.fixture
async def probe() -> AsyncIterator[Probe]:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    probe = Probe(transport)
    yield probe
    await probe.close()
    await transport.close()


def target(url: str, timeout_s: float = 10.0, **more: Any) -> Target:
    return Target("b", url, HealthPolicy(timeout_s=timeout_s), **more)


async def test_a_half_open_socket_costs_one_timeout_and_the_next_check_takes_a_new_connection(probe: Probe) -> None:
    gone: set[int] = set()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        # The other end went without a word: a power cut, a firewall that forgot the connection.
        if seen.connection in gone:
            await asyncio.sleep(60)
        await modern(seen, writer)

    async with raw_server(script) as server:
        assert (await probe.check(target(server.url))).category is None
        gone.update(range(server.connections))
        before = server.connections
        assert (await probe.check(target(server.url, 0.6))).category is ErrorCategory.TIMEOUT
        assert (await probe.check(target(server.url))).category is None
        assert server.connections == before + 1


async def test_a_server_that_closes_idle_connections_is_healthy(probe: Probe) -> None:
    """Node closes after 5 s, without a word before; here it is a fifth of a second."""
    idle_s = 0.2

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await modern(seen, writer)
        asyncio.get_running_loop().call_later(idle_s, writer.close)

    async with raw_server(script) as server:
        for _ in range(3):
            assert (await probe.check(target(server.url))).category is None
            await asyncio.sleep(2 * idle_s)
        assert server.connections == 3


async def test_a_storm_of_429_is_a_backend_that_lives(probe: Probe) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("429 Too Many Requests", b"", "retry-after: 30"))

    async with raw_server(script) as server:
        for _ in range(30):
            outcome = await probe.check(target(server.url))
            assert outcome.category is ErrorCategory.RATE_LIMITED
            assert reading_of(outcome, auth_configured=False, deferred_before=False) is Reading.SLOW_OR_LIMITED
        # What it asked for is heeded: no check is more than one look in each era.
        assert len(server.requests) <= 2 * 30


async def test_a_redirect_is_followed_nowhere(probe: Probe) -> None:
    async def never(_: Seen, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("followed")

    async with raw_server(never) as elsewhere:

        async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(answer("308 Permanent Redirect", b"", f"location: {elsewhere.url}"))

        async with raw_server(script) as server:
            assert (await probe.check(target(server.url))).category is ErrorCategory.REDIRECT
            assert elsewhere.connections == 0


async def test_an_expired_certificate_is_tls_and_says_so(probe: Probe, tmp_path: Path) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate, key = _certificate(valid_until=yesterday)
    async with _tls_server(tmp_path, certificate, key) as url:
        outcome = await probe.check(target(url, peer=Peer(ca_pem=certificate)))
        assert outcome.category is ErrorCategory.TLS
        assert "expired" in outcome.detail


async def test_a_certificate_that_expires_is_seen_by_the_next_connection(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    certificate, key = _certificate(valid_until=soon)
    async with _tls_server(tmp_path, certificate, key) as url:
        seen = target(url, peer=Peer(ca_pem=certificate))
        assert (await probe.check(seen)).category is None
        await asyncio.sleep(4)
        assert (await probe.check(seen)).category is None
        monkeypatch.setattr(pool, "MOST_AGE_SECONDS", 0.0)
        assert (await probe.check(seen)).category is ErrorCategory.TLS


async def test_names_that_come_and_go_are_dns_only_while_a_connection_is_needed(
    probe: Probe, resolver: list[Resolver], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(modern) as server:
        seen = target(f"http://tools.example:{server.port}/mcp")
        resolver[0] = lambda host: []
        outcome = await probe.check(seen)
        assert outcome.category is ErrorCategory.DNS
        assert "tools.example" in outcome.detail
        resolver[0] = lambda host: ["127.0.0.1"]
        assert (await probe.check(seen)).category is None
        resolver[0] = lambda host: []
        assert (await probe.check(seen)).category is None
        monkeypatch.setattr(pool, "MOST_AGE_SECONDS", 0.0)
        assert (await probe.check(seen)).category is ErrorCategory.DNS
        resolver[0] = lambda host: ["127.0.0.1"]
        assert (await probe.check(seen)).category is None


async def test_a_name_that_moves_is_followed_once_its_connection_is_old(
    probe: Probe, resolver: list[Resolver], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(modern) as server:
        seen = target(f"http://tools.example:{server.port}/mcp")
        resolver[0] = lambda host: ["127.0.0.1"]
        assert (await probe.check(seen)).category is None
        resolver[0] = lambda host: ["127.0.0.9"]
        assert (await probe.check(seen)).category is None
        monkeypatch.setattr(pool, "MOST_AGE_SECONDS", 0.0)
        assert (await probe.check(seen)).category is ErrorCategory.CONNECT


async def test_a_name_that_turns_to_a_forbidden_address_is_forbidden(
    probe: Probe, resolver: list[Resolver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding."""
    async with raw_server(modern) as server:
        seen = target(f"http://tools.example:{server.port}/mcp")
        resolver[0] = lambda host: ["127.0.0.1"]
        assert (await probe.check(seen)).category is None
        resolver[0] = lambda host: ["169.254.169.254"]
        monkeypatch.setattr(pool, "MOST_AGE_SECONDS", 0.0)
        assert (await probe.check(seen)).category is ErrorCategory.FORBIDDEN


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> list[Resolver]:
    """The name service of this test's loop: the one function in the list."""
    answers: list[Resolver] = [lambda host: []]

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        await asyncio.sleep(0)
        addresses = [host] if host[0].isdigit() else answers[0](host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return answers


@asynccontextmanager
async def _tls_server(folder: Path, certificate: str, key: str) -> AsyncIterator[str]:
    (folder / "cert.pem").write_text(certificate)
    (folder / "key.pem").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listening = await asyncio.start_server(RawServer(modern).serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{listening.sockets[0].getsockname()[1]}/mcp"
    finally:
        listening.close()


def _certificate(*, valid_until: datetime.datetime) -> tuple[str, str]:
    """A self-signed certificate for localhost, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_until - datetime.timedelta(days=30))
        .not_valid_after(valid_until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed.public_bytes(pem).decode(), private.decode()
