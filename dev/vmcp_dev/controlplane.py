"""A real Kubernetes control plane as child processes: etcd, kube-apiserver, kube-controller-manager.

No kubelet and no scheduler. Everything listens on 127.0.0.1 and lives in one folder.
"""

import json
import logging
import secrets
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from vmcp_dev.binaries import Binaries, find_binaries
from vmcp_dev.certificates import issue_keys, write_private
from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.crdinstall import install_crds
from vmcp_dev.kubectl import Kubectl
from vmcp_dev.ports import free_ports

log = logging.getLogger(__name__)

_SERVICE_RANGE = "10.96.0.0/16"
_FIRST_SERVICE = "10.96.0.1"
_READY_SECONDS = 180.0
_STOP_SECONDS = 5.0

# What has work to do where no node exists but the local runner's. Not here: node lifecycle and eviction
# (nobody renews a node lease), endpoints and endpointslice (the API server refuses loopback addresses, and
# the local runner's pods have no others: those controllers would only fill the log).
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
)

_AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}


class ControlPlaneError(Exception):
    """A part did not become ready or ended by itself. The message holds the tail of its log."""


@dataclass(frozen=True, slots=True)
class _Ports:
    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int


class ControlPlane:
    """etcd, API server and controller manager of one cluster; a context manager, usable from any thread.

    Attributes:
        folder: data, keys and logs (`logs/etcd.log`, `logs/kube-apiserver.log`, ...).
        kubeconfig: file with an administrator's token, mode 0600.
        audit_log: the API server's audit log, one JSON object a line; None when not asked for.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        binaries: Binaries | None = None,
        crds: Path | None = None,
        audit: bool = False,
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: kept after the end and picked up again at the next start; None = a temporary one.
            crds: a folder of CRDs to install before the controllers start, so that the garbage collector knows
                their kinds at once; of later ones it hears within a minute.
            audit: write an audit log of every request's metadata.
        """
        self._temporary = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="vmcp-dev-"))).absolute()
        self.kubeconfig = self.folder / "kubeconfig"
        self.audit_log = self.folder / "audit.log" if audit else None
        self._binaries = binaries
        self._crds = crds
        self._etcd: ChildProcess | None = None
        self._apiserver: ChildProcess | None = None
        self._controller_manager: ChildProcess | None = None
        self._ports: _Ports | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def binaries(self) -> Binaries:
        """The programs it is made of; looked for at the first use, which may take minutes."""
        if self._binaries is None:
            self._binaries = find_binaries()
        return self._binaries

    @property
    def server(self) -> str:
        """URL of the API server; the same after a restart."""
        return f"https://127.0.0.1:{self._taken_ports.apiserver}"

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(self.binaries.kubectl, self.kubeconfig)

    def start(self) -> None:
        """Start all parts and wait until they are ready, some seconds. All are stopped again when one fails.

        Raises:
            ControlPlaneError: a part did not become ready.
            BinaryNotFound: a program could not be had.
            KubectlError: a CRD is refused.
        """
        self.binaries  # noqa: B018  found before anything is started
        self._write_configuration()
        try:
            self._start_etcd()
            self.start_apiserver()
            if self._crds is not None:
                install_crds(self.kubectl, self._crds)
            self._start_controller_manager()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all parts; a temporary folder is removed."""
        # An API server whose etcd is gone hangs on SIGTERM: etcd goes last.
        self._end(self._controller_manager)
        self._end(self._apiserver)
        self._end(self._etcd)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop_apiserver(self) -> None:
        """Stop the API server alone; what is stored stays."""
        self._end(self._apiserver)

    def kill_apiserver(self) -> None:
        """End the API server without a goodbye, as a crash would."""
        if self._apiserver is not None:
            self._apiserver.kill()
            self._apiserver.wait(10.0)

    def start_apiserver(self) -> None:
        """Start the API server, on the same port as before, and wait until it is ready.

        Raises:
            ControlPlaneError: it did not become ready.
        """
        self._apiserver = self._child("kube-apiserver", self._apiserver_command())
        self._await(self._apiserver, f"{self.server}/readyz")

    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run, by name."""
        return {child.name: child.pid for child in self._children() if child.running}

    def check(self) -> None:
        """Raises ControlPlaneError when a part has ended that nobody stopped."""
        for child in self._children():
            if not child.running and not child.asked_to_end:
                raise ControlPlaneError(_obituary(child))

    @property
    def _taken_ports(self) -> "_Ports":
        # Taken late: finding the binaries may take minutes, and a port is only known to be free now.
        if self._ports is None:
            self._ports = _Ports(*free_ports(4))
        return self._ports

    def _children(self) -> list[ChildProcess]:
        return [child for child in (self._etcd, self._apiserver, self._controller_manager) if child is not None]

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keys = issue_keys(self.folder / "pki", _FIRST_SERVICE)
        self._tokens = self.folder / "pki" / "tokens.csv"
        if not self._tokens.exists():
            line = f'{secrets.token_urlsafe(32)},vmcp-dev-admin,vmcp-dev-admin,"system:masters"\n'
            write_private(self._tokens, line.encode())
        token = self._tokens.read_text().split(",")[0]
        config = _kubeconfig(self.server, self._keys.authority, token)
        write_private(self.kubeconfig, json.dumps(config).encode())
        if self.audit_log is not None:
            (self.folder / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))

    def _start_etcd(self) -> None:
        clients = f"http://127.0.0.1:{self._taken_ports.etcd}"
        peers = f"http://127.0.0.1:{self._taken_ports.etcd_peer}"
        command: list[str | Path] = [
            self.binaries.etcd,
            "--name=vmcp-dev",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=vmcp-dev={peers}",
            # The peer port differs from that of the last start.
            f"--force-new-cluster={str((self.folder / 'etcd' / 'member').exists()).lower()}",
            # Nothing here must survive a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        self._etcd = self._child("etcd", command)
        self._await(self._etcd, f"{clients}/health")

    def _apiserver_command(self) -> list[str | Path]:
        command: list[str | Path] = [
            self.binaries.kube_apiserver,
            f"--etcd-servers=http://127.0.0.1:{self._taken_ports.etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._taken_ports.apiserver}",
            f"--tls-cert-file={self._keys.server_certificate}",
            f"--tls-private-key-file={self._keys.server_key}",
            f"--token-auth-file={self._tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self._keys.token_key}",
            f"--service-account-signing-key-file={self._keys.token_key}",
            f"--service-cluster-ip-range={_SERVICE_RANGE}",
            # The loopback address is refused as an endpoint of the Service `kubernetes`.
            "--endpoint-reconciler-type=none",
            "--shutdown-delay-duration=0s",
            "--shutdown-watch-termination-grace-period=0s",
            "--profiling=false",
        ]
        if self.audit_log is not None:
            command += [
                f"--audit-policy-file={self.folder / 'audit-policy.json'}",
                f"--audit-log-path={self.audit_log}",
            ]
        return command

    def _start_controller_manager(self) -> None:
        command: list[str | Path] = [
            self.binaries.kube_controller_manager,
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--root-ca-file={self._keys.authority}",
            f"--service-account-private-key-file={self._keys.token_key}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._taken_ports.controller_manager}",
            f"--cert-dir={self.folder / 'pki' / 'controller-manager'}",
            "--authentication-skip-lookup=true",
            "--authorization-always-allow-paths=/healthz",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--profiling=false",
        ]
        self._controller_manager = self._child("kube-controller-manager", command)
        self._await(self._controller_manager, f"https://127.0.0.1:{self._taken_ports.controller_manager}/healthz")

    def _child(self, name: str, command: Sequence[str | Path]) -> ChildProcess:
        path = self.folder / "logs" / f"{name}.log"
        return ChildProcess(name, command, log=path, cwd=self.folder, on_exit=_report_surprise)

    def _end(self, child: ChildProcess | None) -> None:
        if child is not None:
            child.stop(_STOP_SECONDS)

    def _await(self, child: ChildProcess, url: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers_ok(url):
            if not child.running:
                raise ControlPlaneError(_obituary(child))
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{child.name} is not ready in {_READY_SECONDS:.0f} s:\n{child.tail()}")
            time.sleep(0.1)


def _report_surprise(child: ChildProcess) -> None:
    if not child.asked_to_end:
        log.error("%s", _obituary(child))


def _obituary(child: ChildProcess) -> str:
    return f"{child.name} ended with status {child.exit_status}; the end of {child.log}:\n{child.tail()}"


def _answers_ok(url: str) -> bool:
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified)
    )
    try:
        with opener.open(url, timeout=5.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _kubeconfig(server: str, authority: Path, token: str) -> dict[str, object]:
    cluster = {"server": server, "certificate-authority": str(authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "vmcp-dev", "cluster": cluster}],
        "users": [{"name": "vmcp-dev-admin", "user": {"token": token}}],
        "contexts": [{"name": "vmcp-dev", "context": {"cluster": "vmcp-dev", "user": "vmcp-dev-admin"}}],
        "current-context": "vmcp-dev",
    }
