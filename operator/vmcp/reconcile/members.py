"""Who the backends of a VirtualMCPServer are: those in its spec, and the members of its group. Pure."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.api.mcpremoteproxy import MCPRemoteProxy
from vmcp.api.mcpserver import MCPServer, MCPServerSpec, ServerTransport
from vmcp.api.mcpserverentry import MCPServerEntry, MCPServerEntrySpec
from vmcp.api.problem import problems_of
from vmcp.api.remoteendpoint import RemoteEndpoint, header_problems
from vmcp.api.unsupported import outgoing_auth_problem, proxy_fails_closed
from vmcp.api.validation import url_problem
from vmcp.api.virtualmcpserver import Backend, BackendTransport, VirtualMCPServerSpec
from vmcp.kube.client import JsonObject
from vmcp.reconcile.names import CA_FOLDER, header_variable

IN_CLUSTER_SUFFIXES = (".svc", ".svc.cluster.local")


@dataclass(frozen=True, slots=True)
class CaBundle:
    """A key of a ConfigMap that holds the authorities to trust for one backend, and its PEM text."""

    backend: str
    config_map: str
    key: str
    pem: str

    @property
    def path(self) -> str:
        """Where the gateway's pod finds it."""
        return f"{CA_FOLDER}/{self.backend}/{self.key}"


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """A header's value, as the gateway gets it: an environment variable from a key of a Secret, by reference."""

    variable: str
    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class Member:
    """One candidate for a backend.

    Attributes:
        backend: how to call it; None while it has no URL, or when its object is broken.
        waiting: why it has no URL yet; such a member is shown as unknown.
        broken: why it cannot be a backend.
    """

    source: str
    name: str
    backend: GatewayBackend | None = None
    ca_bundle: CaBundle | None = None
    secret_headers: tuple[SecretHeader, ...] = ()
    waiting: str = ""
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Discovery:
    """The members that are backends, sorted by name, and a sentence for each candidate that is none."""

    members: tuple[Member, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def backends(self) -> list[GatewayBackend]:
        """How to call each backend that can be called."""
        return [member.backend for member in self.members if member.backend]

    @property
    def ca_bundles(self) -> list[CaBundle]:
        """The ConfigMaps with authorities that the gateway mounts."""
        return [member.ca_bundle for member in self.members if member.ca_bundle]

    @property
    def secret_headers(self) -> list[SecretHeader]:
        """The variables with headers' values that the gateway's pod gets."""
        return [header for member in self.members for header in member.secret_headers]

    @property
    def waiting(self) -> dict[str, str]:
        """Members without a URL yet, with the reason."""
        return {member.name: member.waiting for member in self.members if member.waiting}


def discover(
    spec: VirtualMCPServerSpec,
    servers: Sequence[JsonObject],
    entries: Sequence[JsonObject],
    authorities: Mapping[tuple[str, str], str],
    proxies: Sequence[JsonObject] = (),
) -> Discovery:
    """Backends of the spec, then MCPServers, MCPRemoteProxies and MCPServerEntries; of one name the first counts.

    Args:
        authorities: PEM text by ConfigMap name and key, of those that exist.
    """
    inline = spec.config.backends if spec.config and spec.config.backends else []
    candidates = [_inline(spec, backend) for backend in inline]
    candidates += [_read("MCPServer", obj, lambda obj: _server(spec, obj)) for obj in servers]
    candidates += [_read("MCPRemoteProxy", obj, lambda obj: _proxy(spec, obj)) for obj in proxies]
    candidates += [_read("MCPServerEntry", obj, lambda obj: _entry(spec, obj, authorities)) for obj in entries]
    taken: dict[str, Member] = {}
    left_out = []
    for member in candidates:
        if member.broken:
            left_out.append(f"{member.source} {member.name} is left out: {member.broken}")
        elif member.name in taken:
            first = taken[member.name].source
            left_out.append(f"{member.source} {member.name} is left out: {first} has the same name; rename one of them")
        else:
            taken[member.name] = member
    return Discovery(tuple(taken[name] for name in sorted(taken)), tuple(left_out))


def entry_problem(obj: JsonObject) -> str:
    """Why an MCPServerEntry can be nobody's backend; empty when it can."""
    try:
        return _endpoint_problem(MCPServerEntry.model_validate(obj).spec)
    except ValidationError as error:
        return str(problems_of(error)[0])


def proxy_problem(obj: JsonObject) -> str:
    """Why an MCPRemoteProxy can be nobody's backend; empty when it can."""
    try:
        spec = MCPRemoteProxy.model_validate(obj).spec
    except ValidationError as error:
        return str(problems_of(error)[0])
    closing = proxy_fails_closed(obj["spec"])
    return str(closing[0]) if closing else _endpoint_problem(spec)


def authority_references(entries: Sequence[JsonObject]) -> set[tuple[str, str]]:
    """ConfigMap name and key of every CA bundle that the entries refer to."""
    found = set()
    for obj in entries:
        try:
            bundle = MCPServerEntry.model_validate(obj).spec.ca_bundle_ref
        except ValidationError:
            continue
        reference = bundle.config_map_ref if bundle else None
        if reference and reference.name and reference.key:
            found.add((reference.name, reference.key))
    return found


def fingerprint(url: str, transport: str, auth: str) -> str:
    """Short hash of what makes a target the same target (design §3 rule 5)."""
    return hashlib.sha256("\0".join((url, transport, auth)).encode()).hexdigest()[:12]


def _read(source: str, obj: JsonObject, make: Callable[[JsonObject], Member]) -> Member:
    """An object that breaks a rule made after it was stored is its own problem, nobody else's."""
    try:
        return make(obj)
    except ValidationError as error:
        return Member(source, obj["metadata"]["name"], broken=str(problems_of(error)[0]))


def _inline(spec: VirtualMCPServerSpec, backend: Backend) -> Member:
    problem = outgoing_auth_problem(spec, backend.name)
    made = GatewayBackend.model_validate(
        backend.model_dump(exclude_none=True)
        | {
            "allow_private": True,
            "unavailable_reason": problem or "",
            "fingerprint": fingerprint(backend.url, backend.transport, problem or ""),
        }
    )
    return Member("spec.config.backends", backend.name, made)


def _server(spec: VirtualMCPServerSpec, obj: JsonObject) -> Member:
    server = MCPServer.model_validate(obj)
    name = obj["metadata"]["name"]
    if not (server.status and server.status.url):
        return Member("MCPServer", name, waiting=f"MCPServer {name} has no URL in its status yet")
    reference = server.spec.external_auth_config_ref
    problem = outgoing_auth_problem(spec, name, reference.name if reference else None) or ""
    # The fragment that an MCPServer's URL may carry names the server and is not sent.
    shown = server.status.url.partition("#")[0]
    if unusable := url_problem(shown):
        return Member("MCPServer", name, broken=f"status.url {unusable}")
    transport = _transport(server.spec, shown)
    url = _with_path(shown, transport)
    made = GatewayBackend(
        name=name,
        url=url,
        transport=transport,
        allow_private=True,
        unavailable_reason=problem,
        fingerprint=fingerprint(url, transport, problem),
    )
    return Member("MCPServer", name, made)


def _proxy(spec: VirtualMCPServerSpec, obj: JsonObject) -> Member:
    name = obj["metadata"]["name"]
    if problem := proxy_problem(obj):
        return Member("MCPRemoteProxy", name, broken=problem)
    proxy = MCPRemoteProxy.model_validate(obj).spec
    return _remote(spec, "MCPRemoteProxy", name, proxy, proxy.transport)


def _entry(spec: VirtualMCPServerSpec, obj: JsonObject, authorities: Mapping[tuple[str, str], str]) -> Member:
    name = obj["metadata"]["name"]
    if problem := entry_problem(obj):
        return Member("MCPServerEntry", name, broken=problem)
    entry: MCPServerEntrySpec = MCPServerEntry.model_validate(obj).spec
    reference = entry.ca_bundle_ref.config_map_ref if entry.ca_bundle_ref else None
    bundle = None
    if reference and (reference.name, reference.key) in authorities:
        bundle = CaBundle(name, reference.name, reference.key, authorities[reference.name, reference.key])
    elif reference and not reference.optional:
        missing = f"spec.caBundleRef: ConfigMap {reference.name} with key {reference.key} does not exist; create it"
        return Member("MCPServerEntry", name, broken=missing)
    return _remote(spec, "MCPServerEntry", name, entry, entry.transport, bundle)


def _remote(
    spec: VirtualMCPServerSpec,
    source: str,
    name: str,
    endpoint: RemoteEndpoint,
    transport: BackendTransport,
    bundle: CaBundle | None = None,
) -> Member:
    auth = endpoint.external_auth_config_ref
    problem = outgoing_auth_problem(spec, name, auth.name if auth else None) or ""
    forward = endpoint.header_forward
    headers = dict(forward.add_plaintext_headers or {}) if forward else {}
    secrets = {
        header.header_name: SecretHeader(
            header_variable(name, header.header_name), header.value_secret_ref.name, header.value_secret_ref.key
        )
        for header in (forward.add_headers_from_secret or () if forward else ())
    }
    references = [(header, secret.secret, secret.key) for header, secret in sorted(secrets.items())]
    told = repr(sorted(headers.items())) + (json.dumps(references) if references else "")
    made = GatewayBackend(
        name=name,
        url=endpoint.remote_url,
        transport=transport,
        type="entry",
        ca_bundle_path=bundle.path if bundle else None,
        headers=headers,
        headers_from_env={header: secret.variable for header, secret in secrets.items()},
        auth_configured=bool(secrets),
        allow_private=endpoint.allow_private_endpoint or _in_cluster(endpoint.remote_url),
        unavailable_reason=problem,
        fingerprint=fingerprint(endpoint.remote_url, transport, problem or told),
    )
    return Member(source, name, made, bundle, tuple(secrets.values()))


def _endpoint_problem(endpoint: RemoteEndpoint) -> str:
    if unusable := url_problem(endpoint.remote_url):
        return f"spec.remoteUrl {unusable}"
    return next((str(problem) for problem in header_problems(endpoint.header_forward)), "")


def _in_cluster(url: str) -> bool:
    try:
        return (urlsplit(url).hostname or "").endswith(IN_CLUSTER_SUFFIXES)
    except ValueError:
        return False


def _transport(spec: MCPServerSpec, url: str) -> BackendTransport:
    """How it is reached: of a stdio server, what the path of its URL says its proxy speaks, else its `proxyMode`."""
    if spec.transport is not ServerTransport.STDIO:
        return BackendTransport(spec.transport)
    spoken = {"/mcp": BackendTransport.STREAMABLE_HTTP, "/sse": BackendTransport.SSE}
    return spoken.get(urlsplit(url).path) or BackendTransport(spec.proxy_mode)


def _with_path(url: str, transport: BackendTransport) -> str:
    """The URL of an MCPServer's endpoint: with the usual path where it has none."""
    parts = urlsplit(url)
    path = parts.path if parts.path not in ("", "/") else "/sse" if transport is BackendTransport.SSE else "/mcp"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
