"""`vmcp status`, also `kubectl vmcp status`: what `.status` says, in one table. It only reads."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from vmcp.kube.client import Kube

LOOK_EVERY_S = 2.0
WIDE_ENOUGH = 500
"""Characters of a line that goes into a pipe: nothing is cut or wrapped there."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show. Without a name all of a namespace; without a namespace all of the cluster."""

    name: str | None
    namespace: str | None


def status(
    name: Annotated[str | None, typer.Argument(help="A VirtualMCPServer; unset = all of the namespace.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Unset = the kubeconfig's, else the pod's.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every 2 s, until Ctrl-C.")] = False,
    kubeconfig: Annotated[
        str | None, typer.Option(envvar="KUBECONFIG", help="Unset = ~/.kube/config, else the pod that this runs in.")
    ] = None,
) -> None:
    """Show VirtualMCPServers and their backends: what is out, until when, and what a person overruled."""
    from kubernetes.aio.config import ConfigException

    from vmcp.kube.client import KubeError

    if name and all_namespaces:
        raise typer.BadParameter("a NAME is looked for in one namespace", param_hint="--all-namespaces")
    usual = Path.home() / ".kube" / "config"
    path = kubeconfig or (str(usual) if usual.exists() else None)
    try:
        wanted = Wanted(name, None if all_namespaces else namespace or _current_namespace(path))
        asyncio.run(_show(path, wanted, watch))
    except KeyboardInterrupt:
        return
    except (KubeError, ConfigException) as error:
        typer.echo(f"vmcp status: {error}", err=True)
        raise typer.Exit(1) from None


async def _show(kubeconfig: str | None, wanted: Wanted, watch: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from vmcp.kube.client import connect

    console = Console()
    if not console.is_terminal:
        console.width = WIDE_ENOUGH
    async with connect(kubeconfig) as kube:
        table = await _look(kube, wanted)
        if not watch:
            console.print(table)
            return
        with Live(table, console=console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                live.update(await _look(kube, wanted), refresh=True)


async def _look(kube: "Kube", wanted: Wanted) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from vmcp.api.kinds import VIRTUAL_MCP_SERVER
    from vmcp.cli.statustable import HEADERS, rows

    if wanted.name and wanted.namespace:
        found = [await kube.get(VIRTUAL_MCP_SERVER, wanted.namespace, wanted.name)]
    else:
        found = await kube.list(VIRTUAL_MCP_SERVER, wanted.namespace)
    first = 1 if wanted.namespace else 0
    table = Table(*HEADERS[first:], box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for cells in rows(found, datetime.now(UTC)):
        # Text, so that no bracket in a message is taken for markup.
        table.add_row(*(Text(cell) for cell in cells[first:]))
    return table


def _current_namespace(kubeconfig: str | None) -> str:
    from kubernetes.aio import config

    from vmcp.kube.lease import own_namespace

    if kubeconfig is None:
        return own_namespace()
    _, current = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]
    return str(current["context"].get("namespace") or "default")
