"""The options of every `vmcp` command as Markdown, for docs/operations.md: `python -m vmcp_dev.optiontables FILE`."""

import sys
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from vmcp.cli.main import app

BEGIN = "<!-- options: written by make options -->"
END = "<!-- end of options -->"
_LEFT_OUT = ("version",)


def option_tables() -> str:
    """A heading, a sentence and a table for each command that has options."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return "\n\n".join(_section(name, command) for name, command in commands.items() if name not in _LEFT_OUT)


def write_into(page: Path) -> None:
    """Put them between the marks of a page.

    Raises:
        ValueError: it has no such marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{option_tables()}\n\n{end}{after}")


def _section(name: str, command: Any) -> str:
    rows = [_row(param) for param in command.params if not param.is_eager]
    lines = [
        f"### vmcp {name}",
        "",
        command.help,
        "",
        "| option | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows])


def _row(param: Any) -> str:
    argument = param.param_type_name == "argument"
    names = [(param.metavar or param.name).upper()] if argument else [*param.opts, *param.secondary_opts]
    environment = f"`{param.envvar}`" if param.envvar else ""
    choices = " or ".join(f"`{choice.value}`" for choice in type(param.default)) if _is_choice(param) else ""
    meaning = f"{param.help or ''} {choices}".strip()
    cells = (", ".join(f"`{name}`" for name in names), environment, _default(param), meaning)
    return f"| {' | '.join(cells)} |"


def _is_choice(param: Any) -> bool:
    return isinstance(param.default, Enum)


def _default(param: Any) -> str:
    if param.required:
        return "must be given"
    if param.default in (None, "", ()) or param.default is False:
        return ""
    if param.default is True:
        return "on"
    return f"`{getattr(param.default, 'value', param.default)}`"


if __name__ == "__main__":
    write_into(Path(sys.argv[1]))
