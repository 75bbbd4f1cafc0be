from pathlib import Path

import pytest

from vmcp_dev.loopback import PodAddress
from vmcp_dev.podpaths import listening, local_port, moved

MOUNTS = {"/etc/a": Path("/tmp/p/a"), "/etc/a/inner": Path("/tmp/p/inner")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--config=/etc/a/config.yaml", "--config=/tmp/p/a/config.yaml"),
        ("/etc/a", "/tmp/p/a"),
        ("/etc/a/inner/x", "/tmp/p/inner/x"),
        ("/etc/a:/etc/a/inner", "/tmp/p/a:/tmp/p/inner"),
        ("/etc/ab/config.yaml", "/etc/ab/config.yaml"),
        ("/etc/a.yaml", "/etc/a.yaml"),
        ("/srv/etc/a", "/srv/etc/a"),
        ("--debug", "--debug"),
    ],
)
def test_paths_below_a_mount_move_and_no_others(text: str, expected: str) -> None:
    assert moved(text, MOUNTS) == expected


def test_a_pod_with_an_ip_of_its_own_keeps_its_port() -> None:
    address = PodAddress("127.77.1.2", own_ip=True)
    assert listening(["--host=0.0.0.0", "--port=4483"], address) == ["--host=127.77.1.2", "--port=4483"]


def test_a_pod_that_shares_an_ip_gets_a_port_of_its_own() -> None:
    args = listening(["--host=0.0.0.0", "--port=4483"], PodAddress("127.0.0.1", own_ip=False))
    assert args[0] == "--host=127.0.0.1"
    assert local_port(args, declared=4483) not in (0, 4483)
