"""Objects that are kept in great number share their strings.

A JSON decoder makes every field's name anew for every object: of 17,000 kept objects that is most of their memory.
"""

import sys
from typing import Any, Final

LONGEST_SHARED: Final = 32
"""Characters: longer values are mostly one object's own, such as its UID."""


def shared(value: Any) -> Any:
    """An equal JSON value, its fields' names and its short strings shared with all others of this process."""
    if isinstance(value, dict):
        return {sys.intern(name): shared(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shared(item) for item in value]
    if type(value) is str and len(value) <= LONGEST_SHARED:
        return sys.intern(value)
    return value
