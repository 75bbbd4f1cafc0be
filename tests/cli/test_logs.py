"""One line a record."""

import json
import logging
import sys

from vmcp.cli.logs import JsonFormatter


def _line(message: str, *arguments: object, **more: object) -> dict[str, object]:
    record = logging.LogRecord("vmcp.x", logging.WARNING, __file__, 1, message, arguments, None)
    record.__dict__.update(more)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line: dict[str, object] = json.loads(text)
    return line


def test_a_record_is_one_json_object() -> None:
    line = _line("%s is away", "alpha")
    assert line["message"] == "alpha is away"
    assert line["level"] == "warning"
    assert line["logger"] == "vmcp.x"
    assert str(line["time"]).endswith("+00:00")


def test_its_facts_are_fields_and_take_no_place_of_the_others() -> None:
    line = _line("moved\nagain", facts={"backend": "alpha", "to": "open", "message": "other"})
    assert (line["backend"], line["to"], line["message"]) == ("alpha", "open", "moved\nagain")


def test_an_error_stays_on_the_line() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        line = _line("failed", exc_info=sys.exc_info())
    assert "ValueError: bad" in str(line["error"])
