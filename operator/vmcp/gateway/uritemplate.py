"""Which URIs a resource template stands for: enough of RFC 6570 to route `resources/read`."""

import re
from functools import lru_cache

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_MAX_EXPRESSIONS = 16
_MANY_SEGMENTS = "+#/?&;"


@lru_cache(maxsize=4096)
def matcher(template: str) -> re.Pattern[str] | None:
    """A pattern that matches the URIs of the template; None where it has too many expressions to be matched cheaply.

    `{name}` stands for one or more characters except `/`; expressions with an operator (`{+path}`, `{?query}` ...)
    for anything, nothing included.
    """
    if len(_EXPRESSION.findall(template)) > _MAX_EXPRESSIONS:
        return None
    pattern = ""
    position = 0
    for expression in _EXPRESSION.finditer(template):
        pattern += re.escape(template[position : expression.start()])
        spans = expression.group(1)[:1] in tuple(_MANY_SEGMENTS) or expression.group(1).endswith("*")
        pattern += ".*" if spans else "[^/]+"
        position = expression.end()
    return re.compile(pattern + re.escape(template[position:]), re.DOTALL)


def matches(template: str, uri: str) -> bool:
    """Whether the URI is one of the template's."""
    pattern = matcher(template)
    return pattern is not None and pattern.fullmatch(uri) is not None
