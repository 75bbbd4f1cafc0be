"""How one `vmcp serve` is started: its options, its place in Kubernetes, and the configuration that it may serve."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vmcp.api.gatewayconfig import ConfigError, GatewayBackend, GatewayConfig, load_gateway_config
from vmcp.api.session import SessionProvider, host_and_port
from vmcp.api.unsupported import fail_closed, outgoing_auth_problem
from vmcp.gateway.kubewatch import ServiceAccount
from vmcp.gateway.limits import Limits
from vmcp.gateway.seal import KeyProblem, Seal
from vmcp.gateway.secretheaders import with_secret_headers
from vmcp.gateway.sharing.storage import Storage

log = logging.getLogger(__name__)

SESSION_KEY: Final = "VMCP_SESSION_HMAC_SECRET"
REDIS_PASSWORD: Final = "THV_SESSION_REDIS_PASSWORD"


class Refused(Exception):
    """The gateway must not serve this configuration; the message names the field and the fix."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options of `vmcp serve`.

    Attributes:
        access_log: share of requests that get a line on stdout, 0 to 1.
        workers: processes that serve the port together.
    """

    config: Path
    host: str = "127.0.0.1"
    port: int = 4483
    debug: bool = False
    access_log: float = 0.0
    limits: Limits = field(default_factory=Limits)
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Home:
    """Our VirtualMCPServer, where there is one."""

    namespace: str
    name: str
    account: ServiceAccount

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> "Home | None":
        """By VMCP_NAME, VMCP_NAMESPACE and the Pod's ServiceAccount; None = standalone."""
        name, namespace = environ.get("VMCP_NAME", ""), environ.get("VMCP_NAMESPACE", "")
        account = ServiceAccount.of_this_pod(environ)
        return cls(namespace, name, account) if name and namespace and account else None


def session_seal(environ: Mapping[str, str] = os.environ) -> Seal:
    """What makes the ids of sessions: by VMCP_SESSION_HMAC_SECRET, else by a key of this process alone.

    Raises:
        Refused: the variable holds something else than keys.
    """
    text = environ.get(SESSION_KEY, "")
    if not text:
        # In a pod the Secret was there before the first one: somebody has deleted it.
        level = logging.WARNING if environ.get("VMCP_NAME") else logging.INFO
        log.log(level, "%s is not set: sessions end with this process, and no other replica knows them", SESSION_KEY)
        return Seal.of_this_process()
    try:
        return Seal.of_text(text)
    except KeyProblem as problem:
        fix = "give 32 random bytes in base64, or several such keys with commas between, the newest first"
        raise Refused(f"{SESSION_KEY}: {problem}; {fix}") from None


def session_storage(config: GatewayConfig, environ: Mapping[str, str] = os.environ) -> Storage | None:
    """Where sessions are shared with other replicas; None = nowhere. Redis need not be there.

    Raises:
        Refused: the library for it is not installed.
    """
    wanted = config.session_storage
    if wanted is None or wanted.provider is not SessionProvider.REDIS:
        return None
    address = host_and_port(wanted.address)
    if address is None:
        raise Refused("sessionStorage.address: with provider redis it is host:port, such as redis:6379")
    try:
        # It takes 10 MB, for those who use it.
        from vmcp.gateway.sharing.redisstorage import RedisStorage
    except ImportError:
        fix = "install vmcp-operator[redis], or set the provider to memory"
        raise Refused(f"sessionStorage: the library for Redis is not here; {fix}") from None
    name = "/".join(filter(None, (environ.get("VMCP_NAMESPACE"), environ.get("VMCP_NAME") or config.name)))
    return RedisStorage(
        *address,
        db=wanted.db,
        password=environ.get(REDIS_PASSWORD, ""),
        prefix=wanted.key_prefix or f"vmcp:{name}:",
    )


def servable(text: str) -> GatewayConfig:
    """The configuration in `text`.

    Raises:
        Refused: it cannot be read, or it asks for a protection that this gateway does not have.
    """
    try:
        config = load_gateway_config(text)
    except ConfigError as error:
        raise Refused(str(error)) from error
    problems = fail_closed(config)
    if problems:
        raise Refused("; ".join(str(problem) for problem in problems))
    names = [backend.name for backend in config.backends]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise Refused(f"backends[{position}].name: {name!r} is used twice; give each backend its own name")
    return config.model_copy(update={"backends": [_callable(config, backend) for backend in config.backends]})


def _callable(config: GatewayConfig, backend: GatewayBackend) -> GatewayBackend:
    # The operator has written the reason already; a hand-written configuration has not.
    reason = backend.unavailable_reason or outgoing_auth_problem(config, backend.name) or ""
    return with_secret_headers(backend.model_copy(update={"unavailable_reason": reason}), os.environ)


def of_the_user(config: GatewayConfig) -> GatewayConfig:
    """A configuration written by whoever runs the process: it may name private addresses without saying so twice."""
    backends = [backend.model_copy(update={"allow_private": True}) for backend in config.backends]
    return config.model_copy(update={"backends": backends})


def read_config(path: Path) -> GatewayConfig:
    """The configuration in a file.

    Raises:
        Refused: as `servable`, or the file cannot be read.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Refused(f"{path}: cannot be read ({reason}); give --config a readable file") from error
    return servable(text)
