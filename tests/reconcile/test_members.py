"""Who the backends are, how each is called, and why a candidate is none."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.api import samples
from tests.reconcile.objects import entry, inline, proxy, server, spec_of

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.kube.client import JsonObject
from vmcp.reconcile.members import (
    Discovery,
    SecretHeader,
    authority_references,
    discover,
    entry_problem,
    fingerprint,
    proxy_problem,
)

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CA = {"configMapRef": {"name": "corp-ca", "key": "ca.crt"}}
SECRET_HEADER = {"headerName": "X-Key", "valueSecretRef": {"name": "s", "key": "k"}}


def found(*members: JsonObject, authorities: dict[tuple[str, str], str] | None = None, **spec: Any) -> Discovery:
    servers = [obj for obj in members if obj["kind"] == "MCPServer"]
    entries = [obj for obj in members if obj["kind"] == "MCPServerEntry"]
    proxies = [obj for obj in members if obj["kind"] == "MCPRemoteProxy"]
    return discover(spec_of(**spec), servers, entries, authorities or {}, proxies)


def only(discovery: Discovery) -> GatewayBackend:
    assert discovery.left_out == ()
    (backend,) = discovery.backends
    return backend


def test_a_backend_of_the_spec_is_called_as_written() -> None:
    backend = only(found(config={"backends": [inline()]}))
    assert (backend.name, backend.url, backend.transport) == ("own", "http://own.prod.svc:8080/mcp", "streamable-http")
    assert backend.allow_private


def test_a_backend_of_the_spec_keeps_the_file_with_its_authorities() -> None:
    backend = only(found(config={"backends": [inline() | {"caBundlePath": "/etc/ca.pem"}]}))
    assert backend.ca_bundle_path == "/etc/ca.pem"


@pytest.mark.parametrize(
    ("spec", "url", "transport", "called"),
    [
        ({}, "http://s:8080", "streamable-http", "http://s:8080/mcp"),
        ({}, "http://s:8080/", "streamable-http", "http://s:8080/mcp"),
        ({}, "http://s:8080/own/path", "streamable-http", "http://s:8080/own/path"),
        ({}, "http://s:8080/mcp#search", "streamable-http", "http://s:8080/mcp"),
        ({}, "http://s:8080?tenant=1#search", "streamable-http", "http://s:8080/mcp?tenant=1"),
        ({"transport": "stdio"}, "http://s:8080", "streamable-http", "http://s:8080/mcp"),
        ({"transport": "stdio", "proxyMode": "sse"}, "http://s:8080", "sse", "http://s:8080/sse"),
        ({"transport": "stdio", "proxyMode": "sse"}, "http://s:8080/mcp", "streamable-http", "http://s:8080/mcp"),
        ({"transport": "sse"}, "http://s:8080", "sse", "http://s:8080/sse"),
        ({"transport": "sse", "proxyMode": "streamable-http"}, "http://s:8080/sse", "sse", "http://s:8080/sse"),
        ({"transport": "streamable-http", "proxyMode": "sse"}, "http://s:8080", "streamable-http", "http://s:8080/mcp"),
    ],
)
def test_a_server_is_called_where_its_status_says_over_what_its_proxy_speaks(
    spec: dict[str, Any], url: str, transport: str, called: str
) -> None:
    backend = only(found(server(url=url, **spec)))
    assert (backend.url, backend.transport) == (called, transport)
    assert backend.allow_private


@pytest.mark.parametrize("status", [None, {}, {"url": ""}, {"url": None}])
def test_a_server_without_a_url_waits_and_says_so(status: dict[str, Any] | None) -> None:
    obj = server(url=None) | ({"status": status} if status is not None else {})
    discovery = found(obj)
    assert discovery.backends == []
    assert discovery.left_out == ()
    assert discovery.waiting == {"search": "MCPServer search has no URL in its status yet"}


@pytest.mark.parametrize(
    "url", ["http://[bad", "http://s:port/mcp", "ftp://s/mcp", "search", "http://u:p@s/mcp", "http://s s"]
)
def test_a_server_with_a_url_that_is_none_is_left_out(url: str) -> None:
    discovery = found(server(url=url))
    assert discovery.backends == []
    assert discovery.left_out[0].startswith("MCPServer search is left out: status.url ")


def test_an_entry_is_called_as_written_with_its_headers() -> None:
    headers = {"X-Tenant": "blue", "X-Env": "prod"}
    backend = only(found(entry(transport="sse", headerForward={"addPlaintextHeaders": headers})))
    assert (backend.url, backend.transport, backend.type) == ("https://mcp.example.com/mcp", "sse", "entry")
    assert backend.headers == headers
    assert backend.unavailable_reason == ""


@pytest.mark.parametrize(
    ("spec", "private"),
    [
        ({}, False),
        ({"allowPrivateEndpoint": True}, True),
        ({"remoteUrl": "http://tools.other.svc:8080/mcp"}, True),
        ({"remoteUrl": "http://tools.other.svc.cluster.local/mcp"}, True),
        ({"remoteUrl": "http://TOOLS.other.SVC/mcp"}, True),
        ({"remoteUrl": "http://svc/mcp"}, False),
        ({"remoteUrl": "http://example.com/tools.other.svc"}, False),
        ({"remoteUrl": "http://tools.other.svc.example.com/mcp"}, False),
    ],
)
def test_an_entry_may_be_private_only_where_allowed_or_within_the_cluster(spec: dict[str, Any], private: bool) -> None:
    assert only(found(entry(**spec))).allow_private is private


def test_a_ca_bundle_that_exists_is_mounted_for_its_entry() -> None:
    discovery = found(entry(caBundleRef=CA), authorities={("corp-ca", "ca.crt"): PEM})
    (bundle,) = discovery.ca_bundles
    assert (bundle.config_map, bundle.key, bundle.pem) == ("corp-ca", "ca.crt", PEM)
    assert only(discovery).ca_bundle_path == bundle.path == "/etc/toolhive/ca-bundles/remote/ca.crt"


def test_an_entry_whose_ca_bundle_is_missing_is_left_out_with_what_to_do() -> None:
    discovery = found(entry(caBundleRef=CA), authorities={("corp-ca", "other.crt"): PEM})
    assert discovery.backends == []
    assert discovery.left_out == (
        "MCPServerEntry remote is left out: "
        "spec.caBundleRef: ConfigMap corp-ca with key ca.crt does not exist; create it",
    )


def test_an_entry_does_without_a_ca_bundle_that_is_optional_and_missing() -> None:
    discovery = found(entry(caBundleRef={"configMapRef": {**CA["configMapRef"], "optional": True}}))
    assert discovery.ca_bundles == []
    assert only(discovery).ca_bundle_path is None


def test_the_references_to_read_are_those_of_the_entries_that_are_sound() -> None:
    broken = entry("b", caBundleRef=CA) | {"spec": ["no object"]}
    entries = [entry("a", caBundleRef=CA), entry("c", caBundleRef=CA), entry("d"), entry("e", caBundleRef={}), broken]
    assert authority_references(entries) == {("corp-ca", "ca.crt")}


@pytest.mark.parametrize("make", [entry, proxy])
def test_a_header_from_a_secret_is_named_by_its_variable_and_never_by_its_value(
    make: Callable[..., JsonObject],
) -> None:
    member = make("a.b", headerForward={"addHeadersFromSecret": [SECRET_HEADER]})
    discovery = found(member)
    backend = only(discovery)
    (header,) = discovery.secret_headers
    assert backend.headers_from_env == {"X-Key": header.variable}
    assert header == SecretHeader(header.variable, "s", "k")
    assert header.variable.startswith("TOOLHIVE_SECRET_HEADER_FORWARD_X_KEY_A_B_")
    assert backend.auth_configured
    assert backend.headers == {}
    assert backend.unavailable_reason == ""


def test_no_two_headers_share_a_variable() -> None:
    forward = {"addHeadersFromSecret": [SECRET_HEADER, SECRET_HEADER | {"headerName": "X_Key"}]}
    headers = found(entry("a-b", headerForward=forward), entry("a.b", headerForward=forward)).secret_headers
    assert len({header.variable for header in headers}) == 4


def test_another_secret_for_a_header_is_another_target() -> None:
    other = SECRET_HEADER | {"valueSecretRef": {"name": "s", "key": "other"}}
    fingerprints = {
        only(found(entry(headerForward={"addHeadersFromSecret": [header]}))).fingerprint
        for header in (SECRET_HEADER, other)
    }
    assert len(fingerprints) == 2


@pytest.mark.parametrize("name", ["Host", "connection", "Mcp-Session-Id", "Content-Length", "Proxy-Authorization"])
@pytest.mark.parametrize("make", [entry, proxy])
def test_a_header_that_is_the_gateways_own_is_refused_by_name(make: Callable[..., JsonObject], name: str) -> None:
    for forward in (
        {"addPlaintextHeaders": {name: "secret"}},
        {"addHeadersFromSecret": [SECRET_HEADER | {"headerName": name}]},
    ):
        (said,) = found(make(headerForward=forward)).left_out
        assert f"{name} belongs to HTTP or to MCP" in said
        assert "spec.headerForward.add" in said


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        ({"addPlaintextHeaders": {"X Key": "secret"}}, "'X Key' is not a header name"),
        ({"addPlaintextHeaders": {"X-Key": "secret\r\nHost: x"}}, "the value of 'X-Key' holds a line break"),
        ({"addPlaintextHeaders": {"x-key": "secret"}, "addHeadersFromSecret": [SECRET_HEADER]}, "X-Key is given twice"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(forward: dict[str, Any], said: str) -> None:
    problem = entry_problem(entry(headerForward=forward))
    assert said in problem
    assert "secret" not in problem


def test_authorization_may_be_added() -> None:
    forward = {"addHeadersFromSecret": [SECRET_HEADER | {"headerName": "Authorization"}]}
    assert only(found(entry(headerForward=forward))).headers_from_env.keys() == {"Authorization"}


def test_a_remote_proxy_is_called_at_its_remote_url() -> None:
    backend = only(found(proxy(transport="sse", allowPrivateEndpoint=True)))
    assert (backend.name, backend.url, backend.transport) == ("far", "https://far.example.com/mcp", "sse")
    assert backend.allow_private
    assert not only(found(proxy())).allow_private
    assert only(found(proxy())).transport == "streamable-http"


@pytest.mark.parametrize(
    "protecting",
    [
        {"oidcConfigRef": {"name": "corp", "audience": "a"}},
        {"authzConfig": samples.INLINE_AUTHZ},
        {"authzConfigRef": {"name": "policies"}},
        {"authServerRef": {"kind": "MCPExternalAuthConfig", "name": "server"}},
        {"toolConfigRef": {"name": "few"}},
    ],
)
def test_a_remote_proxy_that_protects_by_what_is_not_built_is_nobodys_backend(protecting: dict[str, Any]) -> None:
    obj = proxy(**protecting)
    (path,) = protecting
    assert proxy_problem(obj).startswith(f"spec.{path}: is not supported")
    assert found(obj).backends == []
    assert f"spec.{path}" in found(obj).left_out[0]


@pytest.mark.parametrize("obj", [make(externalAuthConfigRef={"name": "okta"}) for make in (server, entry, proxy)])
def test_a_member_with_auth_that_cannot_be_done_may_never_be_called(obj: JsonObject) -> None:
    assert "'okta'" in only(found(obj)).unavailable_reason


def test_outgoing_auth_of_the_spec_closes_only_the_backend_that_it_names() -> None:
    auth = {"backends": {"own": {"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": "okta"}}}}
    own, search = found(server(), config={"backends": [inline()]}, outgoingAuth=auth).backends
    assert "'okta'" in own.unavailable_reason
    assert search.unavailable_reason == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remoteUrl": "http://[bad"}, "spec.remoteUrl is not a URL"),
        ({"remoteUrl": "ftp://mcp.example.com"}, "spec.remoteUrl: must be a URL"),
        ({"remoteUrl": "https://user:secret@mcp.example.com"}, "spec.remoteUrl must not contain a user or a password"),
        ({"transport": "carrier-pigeon"}, "spec.transport: must be one of"),
        ({"groupRef": None}, "spec.groupRef: is required"),
    ],
)
def test_a_broken_entry_is_left_out_and_disturbs_nobody(change: dict[str, Any], said: str) -> None:
    broken = entry("broken", **change)
    discovery = found(broken, entry("sound"), server())
    assert [backend.name for backend in discovery.backends] == ["search", "sound"]
    assert said in discovery.left_out[0]
    assert said in entry_problem(broken)
    assert "secret" not in discovery.left_out[0]


def test_of_one_name_the_spec_comes_before_a_server_and_a_server_before_an_entry() -> None:
    discovery = found(server("own"), entry("own"), config={"backends": [inline()]})
    assert [(member.source, member.name) for member in discovery.members] == [("spec.config.backends", "own")]
    assert discovery.left_out == (
        "MCPServer own is left out: spec.config.backends has the same name; rename one of them",
        "MCPServerEntry own is left out: spec.config.backends has the same name; rename one of them",
    )


def test_a_server_that_waits_keeps_its_name_from_an_entry() -> None:
    discovery = found(server("twin", url=None), entry("twin"))
    assert discovery.waiting.keys() == {"twin"}
    assert len(discovery.left_out) == 1


def test_a_broken_server_does_not_keep_its_name_from_an_entry() -> None:
    discovery = found(server("twin", url="ftp://s"), entry("twin"))
    assert [backend.type for backend in discovery.backends] == ["entry"]


def test_members_are_sorted_by_name_in_whatever_order_they_are_seen() -> None:
    members = [server("c"), server("a"), entry("b"), entry("d")]
    names = [member.name for member in found(*members).members]
    assert names == ["a", "b", "c", "d"]
    assert found(*members) == found(*reversed(members))


def test_of_one_name_a_remote_proxy_comes_between_a_server_and_an_entry() -> None:
    assert [member.source for member in found(entry("x"), proxy("x"), server("x")).members] == ["MCPServer"]
    assert [member.source for member in found(entry("x"), proxy("x")).members] == ["MCPRemoteProxy"]


def test_a_target_stays_the_same_as_long_as_url_transport_and_auth_do() -> None:
    plain = only(found(server()))
    assert (
        plain.fingerprint
        == only(found(server(image="example.com/server:2", env=[{"name": "A", "value": "1"}]))).fingerprint
    )
    assert len(plain.fingerprint) == 12


@pytest.mark.parametrize(
    "other",
    [
        server(url="http://search.prod.svc:8081/mcp"),
        server(url="http://search.prod.svc:8080/mcp", transport="sse"),
        server(externalAuthConfigRef={"name": "okta"}),
    ],
)
def test_another_url_transport_or_auth_is_another_target(other: JsonObject) -> None:
    assert only(found(server())).fingerprint != only(found(other)).fingerprint


def test_another_header_is_another_target_of_an_entry() -> None:
    fingerprints = {
        only(found(entry(headerForward={"addPlaintextHeaders": headers} if headers else None))).fingerprint
        for headers in (None, {"X-Tenant": "blue"}, {"X-Tenant": "green"}, {"X-Other": "blue"})
    }
    assert len(fingerprints) == 4


def test_parts_of_a_fingerprint_do_not_run_into_each_other() -> None:
    assert fingerprint("http://a", "sse", "") != fingerprint("http://as", "se", "")
