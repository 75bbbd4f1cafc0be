"""Session ids that every process with the same key can read, and nobody else can make, change or use.

An id holds what a session begins with, sealed (ChaCha20-Poly1305) and bound to the identity of the caller it was given
to. So a client goes on with its id at another replica, or here after its session had to make room, and no replica asks
another one. What cannot be in an id is when the session ended: see `Sessions`.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Raw

from vmcp.gateway.questions import CAPABILITY_OF

KEY_BYTES: Final = 32
MAX_AGE_S: Final = 24 * 3600.0
"""From `initialize` on; a process that holds the session goes on with it for as long as it is used."""
MAX_CAPABILITIES_BYTES: Final = 256
MAX_IDENT: Final = 512
_NONCE_BYTES: Final = 12
_READ_BYTES: Final = 4096
"""Capabilities that are longer are not worth the time to choose among them."""
_PURPOSE: Final = b"vmcp session id, format 1"
_COVERED: Final = b"vmcp shared session, format 1"
_ASKING: Final = frozenset(CAPABILITY_OF.values())

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


class KeyProblem(ValueError):
    """The text holds no keys; the message never repeats it."""


class Sealed(msgspec.Struct, array_like=True, frozen=True):
    """What an id says.

    Attributes:
        issued: seconds since 1970.
        capabilities: of the client, JSON; where they are long, those that let a backend ask it something.
    """

    issued: int
    version: str
    capabilities: bytes


class Seal:
    """Makes ids and reads them.

    Args:
        keys: the first one seals; each one is tried to read, so that a key can be replaced while clients stay.
        wall: seconds since 1970.
    """

    def __init__(self, keys: Sequence[bytes], *, wall: Callable[[], float] = time.time) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyProblem(f"a key has {KEY_BYTES} bytes")
        self._ciphers = [ChaCha20Poly1305(_derived(key, _PURPOSE)) for key in keys]
        self._covers = [ChaCha20Poly1305(_derived(key, _COVERED)) for key in keys]
        self._wall = wall

    @classmethod
    def of_this_process(cls) -> "Seal":
        """With a key that no other process has."""
        return cls([secrets.token_bytes(KEY_BYTES)])

    @classmethod
    def of_text(cls, text: str) -> "Seal":
        """With keys in base64, separated by commas or white space.

        Raises:
            KeyProblem: there is none, or one that is not 32 bytes.
        """
        try:
            return cls([base64.b64decode(word, validate=True) for word in text.replace(",", " ").split()])
        except binascii.Error:
            raise KeyProblem("a key is not base64") from None

    def new(self, identity: str, version: str, capabilities: bytes) -> str:
        """An id for a session that begins now: visible ASCII, at most `MAX_IDENT` characters."""
        # The nonce is the random part of the id: 96 bits, and the tag's 128 that cannot be guessed either.
        nonce = secrets.token_bytes(_NONCE_BYTES)
        content = msgspec.msgpack.encode(Sealed(int(self._wall()), version, _compact(capabilities)))
        return _text(nonce + self._ciphers[0].encrypt(nonce, content, _bound_to(identity)))

    def read(self, ident: str, identity: str) -> Sealed | None:
        """What an id says; None where it is none of ours, another caller's, or too old."""
        data = _data(ident)
        if data is None:
            return None
        for cipher in self._ciphers:
            try:
                content = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound_to(identity))
            except InvalidTag:
                continue
            sealed = msgspec.msgpack.decode(content, type=Sealed)
            return sealed if self._wall() - sealed.issued <= MAX_AGE_S else None
        return None

    def cover(self, content: bytes, place: str) -> bytes:
        """What may be kept where others can read it, and put back into that place only."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._covers[0].encrypt(nonce, content, place.encode())

    def uncover(self, data: bytes, place: str) -> bytes | None:
        """What was covered for that place with one of the keys; None where it is something else."""
        for cover in self._covers:
            with suppress(InvalidTag, ValueError):
                return cover.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], place.encode())
        return None


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _bound_to(identity: str) -> bytes:
    return _PURPOSE + b"\0" + identity.encode()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _data(ident: str) -> bytes | None:
    if len(ident) > MAX_IDENT or not ident.isascii():
        return None
    try:
        data = base64.urlsafe_b64decode(ident + "=" * (-len(ident) % 4))
    except binascii.Error:
        return None
    # Base64 has several texts for the same bytes; a session has one id.
    return data if len(data) > _NONCE_BYTES and _text(data) == ident else None


def _compact(capabilities: bytes) -> bytes:
    """Those that fit: first what lets a backend ask the client something (in any case by name), then the shortest."""
    try:
        fields = _fields_of(capabilities)
    except ValueError:
        return b"{}"
    kept = {name: Raw(b"{}") for name in sorted(_ASKING & fields.keys())}
    if len(capabilities) <= _READ_BYTES:
        for name in sorted(fields, key=lambda name: (name not in _ASKING, len(fields[name]), name)):
            more = kept | {name: Raw(msgspec.json.format(bytes(fields[name]), indent=-1))}
            if len(msgspec.json.encode(more)) <= MAX_CAPABILITIES_BYTES:
                kept = more
    return msgspec.json.encode(kept)
