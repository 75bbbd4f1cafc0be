"""Flags as Kubernetes components take them: `--name=false` beside `--no-name`."""

import re
from typing import Any

from typer.core import TyperCommand

_WITH_VALUE = re.compile(r"--(?P<name>[a-z][a-z-]*)=(?P<value>true|false)")


class FlagCommand(TyperCommand):
    """A command whose switches may also be given a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click does, each switch with a value taken for the switch or its opposite. The context is click's own."""
        switches = {name for param in self.params if getattr(param, "secondary_opts", None) for name in param.opts}
        return super().parse_args(ctx, [_switch(argument, switches) for argument in args])


def _switch(argument: str, switches: set[str]) -> str:
    found = _WITH_VALUE.fullmatch(argument)
    if found is None or f"--{found['name']}" not in switches:
        return argument
    return f"--{found['name']}" if found["value"] == "true" else f"--no-{found['name']}"
