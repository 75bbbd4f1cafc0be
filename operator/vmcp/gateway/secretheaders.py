"""Headers of a backend whose values are in environment variables: a Secret's, by reference; nobody else sees them."""

import logging
from collections.abc import Mapping

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.api.remoteendpoint import is_header_value

log = logging.getLogger(__name__)


def lacks_secret_header(backend: GatewayBackend) -> bool:
    """Whether a value was not there when `with_secret_headers` looked."""
    return not backend.headers_from_env.keys() <= backend.headers.keys()


def with_secret_headers(backend: GatewayBackend, environ: Mapping[str, str]) -> GatewayBackend:
    """The backend with the values among its headers; without all of them it may never be called."""
    if not backend.headers_from_env:
        return backend
    values, missing = {}, []
    for header, variable in backend.headers_from_env.items():
        # Whoever writes a Secret with `echo` leaves a line break at the end.
        value = environ.get(variable, "").strip()
        if value and is_header_value(value):
            values[header] = value
        else:
            missing.append(header)
    if missing:
        reason = (
            f"header {', '.join(sorted(missing))} has no usable value: create its Secret with the key, "
            "then restart the gateway (kubectl rollout restart)"
        )
        log.warning("backend %s is not called: %s", backend.name, reason)
        return backend.model_copy(update={"unavailable_reason": backend.unavailable_reason or reason})
    return backend.model_copy(update={"headers": backend.headers | values})
