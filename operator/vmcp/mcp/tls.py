"""TLS contexts for peers, and what a failed handshake means."""

import ssl

from vmcp.api.category import ErrorCategory
from vmcp.mcp.transport import Peer, TransportError

_MOST_CONTEXTS = 256


class TlsContexts:
    """One context for each way of checking certificates: the system's bundle costs milliseconds and megabytes."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str | None, bool], ssl.SSLContext] = {}

    def of(self, peer: Peer) -> ssl.SSLContext:
        """The context that `peer` asks for.

        Raises:
            TransportError: tls, the CA bundle holds no usable certificate.
        """
        key = (peer.ca_pem, peer.verify)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[key] = _new_context(peer)
        return context


def _new_context(peer: Peer) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=peer.ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise TransportError(
            ErrorCategory.TLS,
            "The CA bundle holds no usable certificate; give it as PEM, BEGIN CERTIFICATE lines included.",
            sent=False,
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not peer.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def handshake_failed(error: ssl.SSLError, host: str) -> TransportError:
    """The error for a person: what is wrong with the certificate, or that the port speaks no TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        cause = _CAUSES.get(error.verify_code, "it does not verify")
        message = f"The certificate of {host} is not valid: {cause}."
    elif "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER" in str(error):
        message = f"{host} does not speak TLS on this port; use http:// or the port that does."
    else:
        message = f"The TLS handshake with {host} failed."
    return TransportError(ErrorCategory.TLS, message, sent=False)


_CAUSES = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed; give its CA with caBundleRef",
    19: "its chain ends in an unknown CA; give that CA with caBundleRef",
    20: "its CA is unknown; give that CA with caBundleRef",
    21: "its CA is unknown; give that CA with caBundleRef",
    62: "it is for another host name",
    64: "it is for another address",
}
"""OpenSSL's X509_V_ERR_* as causes for a person."""
