"""`python -m vmcp_dev up|down|kubeconfig|run|binaries`: a development cluster on this machine, without containers."""

import argparse
import logging
import signal
import sys
from pathlib import Path

from vmcp_dev import session
from vmcp_dev.binaries import BinaryNotFound, find_binaries
from vmcp_dev.controlplane import ControlPlaneError
from vmcp_dev.kubectl import KubectlError


def main() -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # `down` and a plain kill end it as Ctrl-C does: in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match options.command:
            case "up":
                session.serve()
            case "run":
                session.serve(options.files)
            case "down":
                session.end()
            case "kubeconfig":
                print(session.current().kubeconfig)
            case "binaries":
                find_binaries()
    except KeyboardInterrupt:
        return 0
    except (session.SessionError, ControlPlaneError, BinaryNotFound, KubectlError) as error:
        print(f"vmcp-dev: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vmcp_dev", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="control plane, CRDs, operator and local runner, until Ctrl-C")
    run = commands.add_parser("run", help="the same, then apply manifests and print where gateways answer")
    run.add_argument("-f", "--file", dest="files", type=Path, action="extend", nargs="+", required=True)
    commands.add_parser("down", help="end what `up` or `run` started in another terminal")
    commands.add_parser("kubeconfig", help="print the path of the running cluster's kubeconfig")
    commands.add_parser("binaries", help="find, fetch or build what a cluster is made of, and no more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
