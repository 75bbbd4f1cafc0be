"""A remote MCP endpoint: what MCPServerEntry and MCPRemoteProxy have in common, and which headers may be added."""

import re
from collections.abc import Iterator

from pydantic import Field

from vmcp.api.model import ApiModel, list_map
from vmcp.api.problem import Problem, field_path
from vmcp.api.references import NameRef, SecretKeyRef

_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")

# HTTP's framing, the hop, and what the protocol itself decides: the gateway sets these, nobody else.
_GATEWAYS_OWN = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect",
        "host", "keep-alive", "last-event-id", "te", "traceparent", "tracestate", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
_GATEWAYS_OWN_PREFIXES = ("mcp-", "proxy-")


class HeaderFromSecret(ApiModel):
    """A header whose value is in a Secret."""

    header_name: str = Field(min_length=1, max_length=255, description="Name of the header.")
    value_secret_ref: SecretKeyRef = Field(description="Secret that holds the value.")


class HeaderForward(ApiModel):
    """Headers that are sent with every request to the endpoint."""

    add_plaintext_headers: dict[str, str] | None = Field(
        None, description="Headers by name. The values are readable by anyone who may read this object."
    )
    add_headers_from_secret: list[HeaderFromSecret] | None = Field(
        None, description="Headers whose values are in Secrets.", json_schema_extra=list_map("headerName")
    )


class RemoteEndpoint(ApiModel):
    """Where the endpoint is and how to call it."""

    remote_url: str = Field(pattern=r"^https?://", description="URL of the MCP endpoint, http:// or https://.")
    allow_private_endpoint: bool = Field(
        False,
        description="Whether it may be on a private address outside the cluster's services. Default false.",
    )
    external_auth_config_ref: NameRef | None = Field(
        None, description="MCPExternalAuthConfig that says how the gateway identifies itself to it."
    )
    header_forward: HeaderForward | None = Field(
        None, description="Headers that are sent with every request to the endpoint."
    )


def header_problems(forward: HeaderForward | None) -> Iterator[Problem]:
    """What is wrong with `spec.headerForward`. Never tells a value."""
    if forward is None:
        return
    place = ("spec", "headerForward")
    taken: set[str] = set()
    for name, value in (forward.add_plaintext_headers or {}).items():
        path = field_path(*place, "addPlaintextHeaders")
        yield from _name_problems(name, taken, path)
        if not is_header_value(value):
            yield Problem(path, f"the value of {name[:80]!r} holds a line break or is not ASCII")
    for index, header in enumerate(forward.add_headers_from_secret or ()):
        path = field_path(*place, "addHeadersFromSecret", index, "headerName")
        yield from _name_problems(header.header_name, taken, path)


def is_header_value(value: str) -> bool:
    """Whether the text can be sent as the value of a header."""
    return _HEADER_VALUE.fullmatch(value) is not None


def _name_problems(name: str, taken: set[str], path: str) -> Iterator[Problem]:
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name):
        yield Problem(path, f"{name[:80]!r} is not a header name; use letters, digits, - and _")
    elif lower in _GATEWAYS_OWN or lower.startswith(_GATEWAYS_OWN_PREFIXES):
        yield Problem(path, f"{name} belongs to HTTP or to MCP and is set by the gateway itself; remove it")
    elif lower in taken:
        yield Problem(path, f"{name} is given twice; remove one of them")
    taken.add(lower)
