"""What the command line means for the operator."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmcp.cli.main import app
from vmcp.process import operator as module
from vmcp.process.listener import Address
from vmcp.process.operator import OperatorOptions


class Command:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: list[OperatorOptions] = []
        self.status = 0
        for name in (
            "KUBECONFIG",
            "VMCP_LISTEN",
            "VMCP_LEADER_ELECT",
            "VMCP_LEASE_NAMESPACE",
            "VMCP_LOG_FORMAT",
            "VMCP_MANAGE_MCPSERVERS",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(module, "operate", self._operate)

    async def _operate(self, options: OperatorOptions) -> int:
        self.options.append(options)
        return self.status

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> int:
        return CliRunner().invoke(app, ["operator", *arguments], env=env or {}).exit_code


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(monkeypatch)


def test_in_a_pod_it_stands_for_the_lease_and_with_a_kubeconfig_it_is_alone(command: Command, tmp_path: Path) -> None:
    assert command() == 0
    assert command(f"--kubeconfig={tmp_path}") == 0
    assert command("--no-leader-elect") == 0
    assert command(f"--kubeconfig={tmp_path}", "--leader-elect") == 0
    assert command(env={"VMCP_LEADER_ELECT": "false"}) == 0
    assert [options.leader_elect for options in command.options] == [True, False, False, True, False]


def test_where_it_listens(command: Command) -> None:
    command()
    command("--listen=0.0.0.0:8080")
    command(env={"VMCP_LISTEN": "127.0.0.1:9"})
    assert [options.listen for options in command.options] == [None, Address("0.0.0.0", 8080), Address("127.0.0.1", 9)]


def test_mcpservers_are_run_unless_another_operator_does(command: Command) -> None:
    assert command() == 0
    for argument in ("--no-manage-mcpservers", "--manage-mcpservers=false", "--manage-mcpservers=true"):
        assert command(argument) == 0
    assert command(env={"VMCP_MANAGE_MCPSERVERS": "false"}) == 0
    assert [options.manage_mcpservers for options in command.options] == [True, False, False, True, False]


@pytest.mark.parametrize("argument", ["--manage-mcpservers=perhaps", "--listen=8080", "--log-format=xml"])
def test_what_is_wrong_is_refused_before_anything_starts(command: Command, argument: str) -> None:
    assert command(argument) == 2
    assert command.options == []


def test_the_exit_status_is_the_operators(command: Command) -> None:
    command.status = 1
    assert command() == 1
