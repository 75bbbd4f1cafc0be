"""What is wrong with a spec, in words for the person who wrote it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: where, such as `spec.config.backends[1].url`.
        message: what is wrong and what to write instead.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def field_path(*parts: str | int) -> str:
    """The parts as one path: names joined by dots, positions in brackets."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def problems_of(error: ValidationError, prefix: str = "") -> list[Problem]:
    """Everything that a model refused, in the order of its fields."""
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False, include_context=True):
        path = field_path(*((prefix,) if prefix else ()), *detail["loc"])
        found.setdefault(path, Problem(path, _message(detail)))
    return list(found.values())


def _message(detail: ErrorDetails) -> str:
    context: Mapping[str, object] = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return "is required; set it"
        case "enum" | "literal_error":
            return f"must be one of {context.get('expected')}"
        case "string_pattern_mismatch" if context.get("pattern") == "^https?://":
            return "must be a URL that starts with http:// or https://"
        case "greater_than_equal":
            return f"must be at least {context.get('ge')}"
        case "less_than_equal":
            return f"must be at most {context.get('le')}"
        case "model_type" | "dict_type":
            return "must be an object"
        case "list_type":
            return "must be a list"
        case "string_type":
            return "must be a string; put it in quotes"
        case "int_type" | "int_parsing" | "int_from_float":
            return "must be a whole number"
        case "value_error":
            return str(context["error"])
        case _:
            text = detail["msg"]
            return text[:1].lower() + text[1:]


def summary(problems: Sequence[Problem], most: int = 5) -> str:
    """The problems as one text for a condition: the first few in full, the number of the others."""
    text = "; ".join(str(problem) for problem in problems[:most])
    further = len(problems) - most
    return f"{text}; and {further} more" if further > 0 else text
