"""Durations in the API's own notation (Go's `time.Duration`): `30s`, `1m30s`, `0.5s`."""

import re

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """The duration in seconds.

    Raises:
        ValueError: the text is not a duration; the message says what one looks like.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; write a number with a unit, such as 30s or 1m30s")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """The shortest exact notation down to milliseconds: `90` seconds are `1m30s`, `0.25` are `250ms`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 0:
        return "-" + format_duration(-seconds)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, fraction = divmod(rest, 1000)
    second = f"{whole}.{fraction:03d}".rstrip("0") if fraction else str(whole)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    return text + (f"{second}s" if second != "0" or not text else "")
