from pathlib import Path

import pytest

from vmcp_dev.crdinstall import await_established
from vmcp_dev.kubectl import Kubectl, KubectlError

KUBECTL = """#!/bin/sh
echo x >>{asked}
[ "$(wc -l <{asked})" -gt 2 ] && exit 0
echo "error: {complaint}" >&2
exit 1
"""


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return tmp_path / "asked"


def kubectl(asked: Path, complaint: str) -> Kubectl:
    """One that complains twice, and is content from then on."""
    program = asked.parent / "kubectl"
    program.write_text(KUBECTL.format(asked=asked, complaint=complaint))
    program.chmod(0o755)
    return Kubectl(program, Path("/dev/null"))


def test_a_crd_whose_conditions_are_not_there_yet_is_waited_for(asked: Path) -> None:
    await_established(kubectl(asked, ".status.conditions accessor error: <nil>"), "crd/a")
    assert asked.read_text() == "x\n" * 3


def test_what_else_kubectl_says_is_told(asked: Path) -> None:
    with pytest.raises(KubectlError, match="not found"):
        await_established(kubectl(asked, "crd/a not found"), "crd/a")
