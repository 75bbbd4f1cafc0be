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

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


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
    liveness: Annotated[
        str,
        typer.Option(envvar="VMCP_LIVENESS", help="URL to answer liveness on, such as http://0.0.0.0:8080/healthz."),
    ] = "",
    debug: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Watch VirtualMCPServers: deploy their gateways, check their backends, report their status."""
    from vmcp.handlers.operator import OperatorOptions, operate

    _log_to_stderr(debug)
    options = OperatorOptions(
        kubeconfig=str(kubeconfig) if kubeconfig else None,
        namespaces=tuple(namespace or ()),
        image=image,
        allow_loopback=allow_loopback,
        liveness_endpoint=liveness,
    )
    _run(operate(options))


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="The gateway's configuration: YAML or JSON.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = a free one.")] = 4483,
    debug: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Run one gateway: in a pod by its VirtualMCPServer, elsewhere alone, with health checks of its own."""
    from vmcp.gateway.server import run
    from vmcp.gateway.settings import ServeOptions

    _log_to_stderr(debug)
    sys.exit(run(ServeOptions(config=config, host=host, port=port, debug=debug)))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the `vmcp` command."""
    app()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run until done or until SIGTERM or SIGINT, which end it cleanly with status 0."""

    async def until_stopped() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            logging.getLogger("vmcp").info("stopped")

    try:
        uvloop.run(until_stopped())
    except Exception:
        logging.getLogger("vmcp").exception("ended by an error")
        sys.exit(1)


def _log_to_stderr(debug: bool) -> None:
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    for noisy in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It warns that it is not in the main thread, which is on purpose.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
