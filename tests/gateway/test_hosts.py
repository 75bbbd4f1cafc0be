"""A web page that points its own name at the gateway is refused; every client that names the gateway is served."""

import pytest

from vmcp.gateway.hosts import Hosts


def hosts(*allowed: str, local: bool = False) -> Hosts:
    made = Hosts(local=local)
    made.allow(allowed)
    return made


@pytest.mark.parametrize(
    ("authority", "local", "open_", "listed"),
    [
        (b"127.0.0.1:4483", True, True, True),
        (b"localhost", True, True, True),
        (b"LOCALHOST.:80", True, True, True),
        (b"[::1]:4483", True, True, True),
        (b"evil.example.com", False, True, False),
        (b"mcp.example.com:443", False, True, True),
        (b"MCP.example.com.", False, True, True),
        (b"10.1.2.3:4483", False, True, True),
        (b"gate-vmcp", False, True, True),
        (b"gate-vmcp.team.svc:4483", False, True, True),
        (b"gate-vmcp.team.svc.cluster.local", False, True, True),
        (b"gate-vmcp.team.svc.evil.com", False, True, False),
        (b"127.0.0.1.evil.com", False, True, False),
        (b"", False, False, False),
        (b"a b", False, False, False),
        (b"evil.com@localhost", False, False, False),
        (b"localhost:80:80", False, False, False),
        (b"localhost\xff", False, False, False),
    ],
)
def test_a_host_is_taken(authority: bytes, local: bool, open_: bool, listed: bool) -> None:
    assert hosts(local=True).takes(authority) is local
    assert hosts().takes(authority) is open_
    assert hosts("mcp.example.com").takes(authority) is listed


@pytest.mark.parametrize(
    ("origin", "authority", "local", "welcome"),
    [
        (b"http://localhost:3000", b"127.0.0.1:4483", True, True),
        (b"http://127.0.0.1", b"gate-vmcp.team.svc", False, True),
        (b"http://[::1]:1", b"localhost", True, True),
        (b"https://evil.example.com", b"evil.example.com", False, False),
        (b"https://evil.example.com", b"evil.example.com", True, False),
        (b"https://evil.example.com", b"localhost", True, False),
        (b"https://localhost.evil.com", b"localhost", True, False),
        (b"http://10.1.2.3:8080", b"10.1.2.3:4483", False, True),
        (b"http://10.1.2.3:8080", b"10.1.2.4:4483", False, False),
        (b"http://gate-vmcp.team.svc", b"gate-vmcp.team.svc", False, True),
        (b"https://mcp.example.com", b"mcp.example.com", False, True),
        (b"https://mcp.example.com", b"10.1.2.3", False, True),
        (b"null", b"localhost", True, False),
        (b"", b"localhost", True, False),
        (b"file://", b"localhost", True, False),
        (b"chrome-extension://abc", b"localhost", True, False),
        (b"http://localhost/path", b"localhost", True, False),
        (b"http://user@localhost", b"localhost", True, False),
    ],
)
def test_a_page_is_welcome(origin: bytes, authority: bytes, local: bool, welcome: bool) -> None:
    assert hosts("mcp.example.com", local=local).welcomes(origin, authority) is welcome


def test_a_changed_list_counts_at_once() -> None:
    judged = hosts("mcp.example.com")
    assert judged.takes(b"mcp.example.com")
    judged.allow(["other.example.com"])
    assert not judged.takes(b"mcp.example.com")
    assert judged.takes(b"other.example.com")
