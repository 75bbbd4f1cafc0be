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
from vmcp.cli.flags import FlagCommand
from vmcp.cli.logs import LogFormat, log_to_stderr
from vmcp.cli.status import status

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

LogFormatOption = Annotated[LogFormat, typer.Option(envvar="VMCP_LOG_FORMAT", help="What a line of the log is.")]


@app.callback()
def root() -> None:
    """Keeps a fleet of MCP servers usable: one gateway per VirtualMCPServer, health checks, circuit breakers."""


@app.command(cls=FlagCommand)
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
    lease_name: Annotated[
        str,
        typer.Option(envvar="VMCP_LEASE_NAME", help="Name of that Lease; unset = by the namespaces that are served."),
    ] = "",
    manage_mcpservers: Annotated[
        bool,
        typer.Option(
            envvar="VMCP_MANAGE_MCPSERVERS",
            help="Run MCPServers; if not, another operator does and they are only read.",
        ),
    ] = True,
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
        lease_name=lease_name,
        manage_mcpservers=manage_mcpservers,
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
    workers: Annotated[
        int,
        typer.Option(
            envvar="VMCP_WORKERS",
            min=1,
            max=64,
            help="Processes that serve the port together, for more than one core; each takes 15 to 20 MB.",
        ),
    ] = 1,
    log_format: LogFormatOption = LogFormat.TEXT,
    debug: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Run one gateway: in a pod by its VirtualMCPServer, elsewhere alone, with health checks of its own."""
    from vmcp.gateway.server import run
    from vmcp.gateway.settings import ServeOptions

    log_to_stderr(debug=debug, style=log_format)
    options = ServeOptions(config=config, host=host, port=port, debug=debug, access_log=access_log, workers=workers)
    sys.exit(run(options))


app.command()(status)


@app.command()
def stdio(
    program: Annotated[
        list[str] | None, typer.Argument(help="With --command: the server's program and its arguments, after `--`.")
    ] = None,
    command: Annotated[
        bool, typer.Option("--command", help="Start the server here instead of attaching to a pod's.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of the pod.")] = "",
    pod: Annotated[str, typer.Option(help="Pod whose container is the server.")] = "",
    container: Annotated[str, typer.Option(help="That container; it has stdin and stdinOnce.")] = "mcp",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Cluster of the pod; unset = the one this pod runs in.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = a free one.")] = 8080,
    call_timeout: Annotated[
        str, typer.Option(envvar="VMCP_CALL_TIMEOUT", help="How long one call may take, such as 30s or 5m.")
    ] = "5m",
    max_calls: Annotated[
        int, typer.Option(envvar="VMCP_MAX_CALLS", min=1, help="Calls under way at once; one more is refused.")
    ] = 128,
    log_format: LogFormatOption = LogFormat.TEXT,
    debug: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Serve an MCP server that speaks on stdin and stdout over HTTP, to many clients at once."""
    from vmcp.api.duration import parse_duration
    from vmcp.stdio.proxy import StdioOptions, run
    from vmcp.stdio.sources import SourceProblem, source_of

    log_to_stderr(debug=debug, style=log_format)
    try:
        source = source_of(
            command=tuple(program or ()) if command else None,
            namespace=namespace,
            pod=pod,
            container=container,
            kubeconfig=kubeconfig,
        )
    except SourceProblem as problem:
        raise typer.BadParameter(str(problem), param_hint=problem.option) from None
    try:
        timeout_s = parse_duration(call_timeout)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--call-timeout") from None
    sys.exit(run(StdioOptions(source=source, host=host, port=port, timeout_s=timeout_s, most_calls=max_calls)))


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
