"""Python's search for reference cycles, made rare: a check makes none, and the search cost an eighth of each check."""

import gc
from typing import Final

_NEW_OBJECTS: Final = 50_000
"""A search of the young comes after so many. The default of 700 is reached by a few checks under way at once."""
_YOUNG_SEARCHES: Final = 20
"""A search of the older comes after so many of the young, and one of all after so many of those."""


def search_rarely() -> None:
    """Set it for this process. What garbage there is then waits in some MB of memory for longer."""
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_SEARCHES, _YOUNG_SEARCHES)
