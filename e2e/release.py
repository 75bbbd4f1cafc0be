"""The operator as Helm installs it."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from e2e.kind import REPOSITORY, Kind, run
from vmcp_dev.tools import find_tool

CHART = REPOSITORY / "deploy" / "helm" / "vmcp-operator"

Values = Mapping[str, Any]

_WAIT_SECONDS = 400
_NEVER = "1970-01-01T00:00:00Z"


class Release:
    """One release of the chart in one namespace.

    Attributes:
        name: of the release, and so of what it installs.
        namespace: where it is installed.
    """

    def __init__(self, kind: Kind, namespace: str, name: str = "vmcp-operator") -> None:
        self.name = name
        self.namespace = namespace
        self._kind = kind
        self._since: datetime | None = None
        self._spans: list[tuple[datetime, datetime]] = []

    @property
    def installed(self) -> list[tuple[datetime, datetime]]:
        """From when to when it was installed, as far as this object did it."""
        now = [(self._since, datetime.now(UTC))] if self._since else []
        return self._spans + now

    def install(self, values: Values, chart: Path = CHART) -> None:
        """Install, or upgrade to, this chart with these values alone; returns when its pods are ready."""
        self._since = self._since or datetime.now(UTC)
        self._helm(
            "upgrade", "--install", self.name, str(chart), "--reset-values", "--values=-", "--wait",
            f"--timeout={_WAIT_SECONDS}s", stdin=json.dumps(dict(values)),
        )  # fmt: skip

    def half_done(self) -> bool:
        """Whether an install or upgrade was killed: Helm then refuses every other one until it is uninstalled."""
        listed = json.loads(self._helm("list", "--pending", f"--filter=^{self.name}$", "--output=json"))
        return bool(listed)

    def uninstall(self) -> None:
        """Remove it; what the chart keeps stays."""
        if self._since:
            self._spans.append((self._since, datetime.now(UTC)))
            self._since = None
        self._helm("uninstall", self.name, "--wait", "--ignore-not-found", f"--timeout={_WAIT_SECONDS}s")

    def objects(self) -> list[dict[str, Any]]:
        """What it consists of, as rendered."""
        return [document for document in yaml.safe_load_all(self._helm("get", "manifest", self.name)) if document]

    @property
    def account(self) -> str:
        """User name of the operator's ServiceAccount."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    async def pods(self, api: httpx.AsyncClient) -> list[dict[str, Any]]:
        """The operator's pods."""
        selector = {"labelSelector": f"app.kubernetes.io/name=vmcp-operator,app.kubernetes.io/instance={self.name}"}
        answer = await api.get(f"/api/v1/namespaces/{self.namespace}/pods", params=selector)
        return list(answer.raise_for_status().json()["items"])

    async def leader(self, api: httpx.AsyncClient) -> str:
        """Who holds the Lease; empty = nobody."""
        return str((await self._lease(api)).get("holderIdentity") or "")

    async def leading_since(self, api: httpx.AsyncClient, moment: datetime, other_than: str = "") -> str:
        """Who has renewed the Lease after that moment, and is not `other_than`; empty = nobody."""
        lease = await self._lease(api)
        renewed = datetime.fromisoformat(lease.get("renewTime") or _NEVER)
        holder = str(lease.get("holderIdentity") or "")
        return holder if holder != other_than and renewed > moment else ""

    async def _lease(self, api: httpx.AsyncClient) -> dict[str, Any]:
        answer = await api.get(f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/vmcp-operator")
        return dict(answer.raise_for_status().json()["spec"])

    def _helm(self, *arguments: str, stdin: str | None = None) -> str:
        return run(
            find_tool("helm"), f"--kubeconfig={self._kind.kubeconfig}", f"--namespace={self.namespace}", *arguments,
            stdin=stdin, timeout_s=_WAIT_SECONDS + 60.0,
        )  # fmt: skip


def packaged(folder: Path, version: str, values: Values) -> Path:
    """The chart as a package of another version, with other defaults."""
    source = folder / CHART.name
    shutil.copytree(CHART, source, symlinks=False, dirs_exist_ok=True)
    defaults = yaml.safe_load((source / "values.yaml").read_text())
    (source / "values.yaml").write_text(yaml.safe_dump(defaults | dict(values)))
    run(find_tool("helm"), "package", str(source), f"--version={version}", f"--destination={folder}")
    return folder / f"{CHART.name}-{version}.tgz"
