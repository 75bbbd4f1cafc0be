"""Cursors of our own lists: opaque to clients, the same from every replica."""

import base64
import binascii
from typing import Final

from vmcp.gateway.listing import Listed

PAGE_ITEMS: Final = 1_000
"""Many clients read the first page only: it holds what a fleet of ordinary size has."""


def cursor(listed: Listed, page: int) -> str:
    """What leads to this page of this list."""
    return base64.urlsafe_b64encode(f"{listed.name}:{page}".encode()).decode().rstrip("=")


def page_of(listed: Listed, text: str) -> int | None:
    """The page of this list that the cursor leads to; None where it was never one of ours."""
    if len(text) > 64 or not text.isascii():
        return None
    try:
        name, _, number = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if name != listed.name or not number.isdigit():
        return None
    page = int(number)
    return page if page > 0 and cursor(listed, page) == text else None
