"""What a change of an MCPServer's status says of its endpoints."""

from typing import Any

import pytest

from vmcp.reconcile.readiness import Moved, endpoints_moved

URL = "http://search.prod.svc:8080"


def server(phase: str = "Ready", url: str = URL, replicas: int = 1) -> dict[str, Any]:
    return {"status": {"phase": phase, "url": url, "readyReplicas": replicas}}


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (server(), server(), Moved.NOT),
        (server("Pending", replicas=0), server(), Moved.READY),
        (server(), server(replicas=2), Moved.READY),
        (server(replicas=0), server(replicas=1), Moved.READY),
        (server(), server(url=URL + "1"), Moved.READY),
        ({}, server(), Moved.READY),
        (server(), server("Failed", replicas=0), Moved.OTHERWISE),
        (server(replicas=2), server(replicas=1), Moved.OTHERWISE),
        (server(), server("Pending"), Moved.OTHERWISE),
        (server("Pending"), server("Ready", url=""), Moved.OTHERWISE),
        ({"status": {"url": URL}}, {"status": {"url": URL, "readyReplicas": 1}}, Moved.READY),
        ({"status": None}, {"status": {"readyReplicas": "x"}}, Moved.NOT),
    ],
)
def test_how_endpoints_moved(before: dict[str, Any], after: dict[str, Any], moved: Moved) -> None:
    assert endpoints_moved(before, after) is moved
