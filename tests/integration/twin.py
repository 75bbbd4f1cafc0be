"""An operator as a process that listens: one of several that stand for the same Lease, or one alone."""

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.integration.stage import Stage, free_port

from vmcp_dev import auditlog
from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.operatorprocess import start_operator

WRITES = ("create", "update", "patch", "delete", "deletecollection")


class Twin:
    def __init__(self, kubeconfig: Path, stage: Stage, log: Path, *arguments: str) -> None:
        self.port = free_port()
        self.log = log
        listen = f"--listen=127.0.0.1:{self.port}"
        everything = [f"--namespace={stage.namespace}", listen, *arguments]
        self.process: ChildProcess = start_operator(kubeconfig, log=log, arguments=everything)

    def answer(self, path: str) -> tuple[int, str]:
        """Status and body; 0 where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def leads(self) -> bool:
        return self.answer("/readyz") == (200, "leading\n")

    def follows(self) -> bool:
        return self.answer("/readyz") == (200, "following\n")

    def metrics(self) -> dict[str, float]:
        """Values by name and sorted labels, as `name{a=b,c=d}`."""
        result: dict[str, float] = {}
        for family in text_string_to_metric_families(self.answer("/metrics")[1]):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                result[f"{sample.name}{{{labels}}}"] = sample.value
        return result

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def writes(self, audit_log: Path) -> list[dict[str, Any]]:
        """What it asked the API server to change, so far."""
        agent = f"; {self.process.pid})"
        return [
            entry
            for entry in auditlog.entries(audit_log, naming=agent)
            if entry.get("userAgent", "").endswith(agent)
            and entry["userAgent"].startswith("vmcp-operator/")
            and entry["verb"] in WRITES
            and entry["stage"] == "ResponseComplete"
        ]


@contextmanager
def twins(kubeconfig: Path, stage: Stage, folder: Path, *names: str) -> Iterator[list[Twin]]:
    elect = ["--leader-elect", f"--lease-namespace={stage.namespace}"]
    started = [Twin(kubeconfig, stage, folder / f"{name}.log", *elect) for name in names]
    try:
        yield started
    finally:
        for twin in started:
            twin.process.kill()
            twin.process.wait(10)


def lease(stage: Stage) -> dict[str, Any]:
    """The operators' Lease, not one of the gateways'."""
    (found,) = [item for item in stage.every("lease") if item["metadata"]["name"].startswith("vmcp-operator")]
    spec: dict[str, Any] = found["spec"]
    return spec
