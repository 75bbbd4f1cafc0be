"""Commands and their options. A command imports what it needs itself: the gateway carries no Kubernetes client."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from vmcp import __version__
from vmcp.cli.logs import LogFormat, log_to_stderr

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

LogFormatOption = Annotated[LogFormat, typer.Option(envvar="VMCP_LOG_FORMAT", help="What a line of the log is.")]


@app.callback()
def root() -> None:
    """Keeps a fleet of MCP servers usable: one gateway per VirtualMCPServer, health checks, circuit breakers."""


@app.command()
def operator(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(envvar="KUBECONFIG", help="Cluster to serve; unset = the one this pod runs in."),
    ] = None,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Namespace to serve; may be repeated; unset = all.")
    ] = None,
    image: Annotated[
        str, typer.Option(envvar="VMCP_IMAGE", help="Image of the gateways.")
    ] = f"vmcp-operator:{__version__}",
    allow_loopback: Annotated[
        bool,
        typer.Option(envvar="VMCP_ALLOW_LOOPBACK", help="Let checks reach loopback addresses (development)."),
    ] = False,
    listen: Annotated[
        str,
        typer.Option(
            envvar="VMCP_LISTEN",
            help="host:port for /healthz, /readyz and /metrics, such as 0.0.0.0:8080; unset = none.",
        ),
    ] = "",
    leader_elect: Annotated[
        bool | None,
        typer.Option(
            envvar="VMCP_LEADER_ELECT",
            help="Work only while holding a Lease, for several replicas; unset = in a pod only.",
            show_default=False,
        ),
    ] = None,
    lease_namespace: Annotated[
        str,
        typer.Option(envvar="VMCP_LEASE_NAMESPACE", help="Namespace of that Lease; unset = the pod's, else default."),
    ] = "",
    log_format: LogFormatOption = LogFormat.TEXT,
    debug: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Watch VirtualMCPServers: deploy their gateways, check their backends, report their status."""
    from vmcp.process.listener import Address
    from vmcp.process.operator import OperatorOptions, operate

    log_to_stderr(debug=debug, style=log_format)
    try:
        address = Address.parse(listen) if listen else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from None
    options = OperatorOptions(
        kubeconfig=str(kubeconfig) if kubeconfig else None,
        namespaces=tuple(namespace or ()),
        image=image,
        allow_loopback=allow_loopback,
        listen=address,
        leader_elect=kubeconfig is None if leader_elect is None else leader_elect,
        lease_namespace=lease_namespace,
    )
    _run(operate(options))


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="The gateway's configuration: YAML or JSON.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = a free one.")] = 4483,
    access_log: Annotated[
        float,
        typer.Option(
            envvar="VMCP_ACCESS_LOG",
            min=0.0,
            max=1.0,
            help="Share of requests that get a JSON line on stdout: 0 = none, 1 = all.",
        ),
    ] = 0.0,
    log_format: LogFormatOption = LogFormat.TEXT,
    debug: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Run one gateway: in a pod by its VirtualMCPServer, elsewhere alone, with health checks of its own."""
    from vmcp.gateway.server import run
    from vmcp.gateway.settings import ServeOptions

    log_to_stderr(debug=debug, style=log_format)
    sys.exit(run(ServeOptions(config=config, host=host, port=port, debug=debug, access_log=access_log)))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the `vmcp` command."""
    app()


def _run(work: Coroutine[Any, Any, int]) -> None:
    """Run until done, and exit with its status; SIGTERM and SIGINT end it cleanly with status 0."""

    async def until_stopped() -> int:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            logging.getLogger("vmcp").info("stopped")
            return 0

    try:
        status = uvloop.run(until_stopped())
    except Exception:
        logging.getLogger("vmcp").exception("ended by an error")
        status = 1
    sys.exit(status)
