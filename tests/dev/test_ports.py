import socket
from pathlib import Path

import pytest

from vmcp_dev import ports


def test_no_outgoing_connection_can_take_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "range"
    file.write_text("32768\t60999\n")
    monkeypatch.setattr(ports, "_RANGE", file)
    assert all(port < 32768 for port in ports.free_ports(200))


def test_several_ports_differ_and_can_be_listened_on() -> None:
    found = ports.free_ports(50)
    assert len(set(found)) == 50
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        port = taken.getsockname()[1]
        free = ports.free_port()
        offered = iter([port, port, free])
        monkeypatch.setattr(ports._chosen, "choice", lambda _: next(offered))
        assert ports.free_port() == free


@pytest.mark.parametrize("told", ["1024 65535\n", "13000 65535\n", ""])
def test_where_few_ports_are_left_the_kernel_chooses(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "range"
    file.write_text(told)
    monkeypatch.setattr(ports, "_RANGE", file)
    socket.create_server(("127.0.0.1", ports.free_port())).close()
