"""Where the API server is and who we are there: the pod's own account, or a kubeconfig for development."""

import base64
import ssl
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vmcp.gateway.kubewatch import ServiceAccount


class ClusterError(Exception):
    """The account's files cannot be used. The message says which; it holds no secrets."""


@dataclass(frozen=True, slots=True)
class Login:
    """What one request needs."""

    server: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext


class Cluster(ABC):
    """An API server."""

    @abstractmethod
    def login(self) -> Login:
        """Read anew each time: tokens and certificates are rotated.

        Raises:
            ClusterError: the files cannot be used.
        """


class OwnCluster(Cluster):
    """The one that this pod runs in."""

    def __init__(self, account: ServiceAccount) -> None:
        self._account = account

    def login(self) -> Login:
        """By the ServiceAccount's token."""
        folder = self._account.folder
        try:
            token = (folder / "token").read_text().strip()
            tls = ssl.create_default_context(cadata=(folder / "ca.crt").read_text())
        except (OSError, ValueError) as error:
            raise ClusterError(f"the ServiceAccount's files cannot be used ({_why(error)})") from None
        return Login(self._account.server, {"Authorization": f"Bearer {token}"}, tls)


class KubeconfigCluster(Cluster):
    """The current context of a kubeconfig with a token or a client certificate. Plugins are not run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def login(self) -> Login:
        """By the user's token or certificate."""
        try:
            return self._read()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, yaml.YAMLError) as error:
            raise ClusterError(f"{self._path} cannot be used ({_why(error)})") from None

    def _read(self) -> Login:
        config = yaml.safe_load(self._path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        authority = self._bytes(cluster, "certificate-authority")
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        certificate, key = self._bytes(user, "client-certificate"), self._bytes(user, "client-key")
        if certificate and key:
            # The standard library loads keys from files only.
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                tls.load_cert_chain(file.name)
        headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
        return Login(str(cluster["server"]), headers, tls)

    def _bytes(self, holder: Mapping[str, Any], name: str) -> bytes:
        if holder.get(f"{name}-data"):
            return base64.b64decode(holder[f"{name}-data"])
        return (self._path.parent / holder[name]).read_bytes() if holder.get(name) else b""


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _why(error: Exception) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else type(error).__name__
