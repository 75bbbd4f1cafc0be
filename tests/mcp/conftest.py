import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.mcp.rawserver import LegacyServer

from vmcp.mcp.backend import Address, Backend
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    yield transport
    await transport.close()


@pytest.fixture
def backend_at(transport: HttpTransport):
    def make(url: str, **more: Any) -> Backend:
        return Backend(transport, Address(url, **more), client_name="test", client_version="1")

    return make


@pytest.fixture(params=["python", "typescript"])
async def legacy(request: pytest.FixtureRequest) -> AsyncIterator[LegacyServer]:
    return LegacyServer(typescript=request.param == "typescript")


@pytest.fixture(scope="session")
def certificate() -> tuple[str, str]:
    """A self-signed certificate for localhost, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed.public_bytes(pem).decode(), private.decode()
