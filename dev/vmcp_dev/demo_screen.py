"""What the demo shows: lines that stay, and below them on a terminal a live table of every backend."""

import io
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.box import SIMPLE
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vmcp_dev.demo_view import CircuitMove, View, seconds_left

_REFRESH_PER_SECOND = 4
_COLUMNS = 118
_COLOURS = {
    "Ready": "green",
    "Degraded": "yellow",
    "Failed": "red",
    "ready": "green",
    "degraded": "yellow",
    "unavailable": "red",
    "closed": "green",
    "half-open": "yellow",
    "open": "red",
}


class Screen(ABC):
    """A context manager. A line is printed once and stays; the table shows what was last told."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._view = View()
        self._tools: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  a screen of plain lines has nothing to end
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @abstractmethod
    def show(self, what: RenderableType) -> None:
        """Print something that stays."""

    def say(self, line: str, style: str = "") -> None:
        """Print a line that stays, with the seconds since the start before it."""
        self.show(Text.assemble((f"{time.monotonic() - self._started:6.1f} s  ", "dim"), (line, style)))

    def output(self, command: str, text: str) -> None:
        """Print a command and what it printed."""
        self.show(Text(f"$ {command}", style="bold"))
        self.show(Text(text.rstrip()))

    def status(self, view: View, moves: Sequence[CircuitMove]) -> None:
        """The status changed; every change of the phase or of a circuit becomes a line."""
        if view.phase != self._view.phase:
            self.say(f"phase {view.phase}: {view.message}", style=_COLOURS.get(view.phase, ""))
        self.know(view)
        for move in moves:
            self.say(str(move), style=_COLOURS.get(move.after, ""))

    def know(self, view: View) -> None:
        """The status changed; nothing is printed."""
        self._view = view

    def tools(self, names: tuple[str, ...]) -> None:
        """The client listed the tools."""
        self._tools = names

    def still(self) -> None:
        """Print the table as of now: where it is not seen all the time, at the moments that matter."""
        self.show(self.table())

    def table(self) -> Table:
        """The table as of now."""
        return status_table(self._view, self._tools)


class PlainScreen(Screen):
    """Lines only: for a pipe, a log file, CI."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stdout, no_color=True, highlight=False, soft_wrap=True, width=_COLUMNS)

    def show(self, what: RenderableType) -> None:
        """Print it at once, so that who follows a pipe sees it."""
        self._console.print(what)
        sys.stdout.flush()


class LiveScreen(Screen):
    """Lines, and the table below them, drawn again four times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False)
        self._live = Live(
            get_renderable=self.table, console=self._console, refresh_per_second=_REFRESH_PER_SECOND, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, what: RenderableType) -> None:
        """Print it above the table."""
        self._console.print(what)

    def still(self) -> None:
        """Nothing: the table is on the screen already."""


class Picture(Screen):
    """Passes everything on to another screen, and draws the lines and tables: for the picture in the README."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self._console = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True, highlight=False)

    def __enter__(self) -> Self:
        self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.__exit__(kind, error, trace)

    def show(self, what: RenderableType) -> None:
        """Print it in both places."""
        self._screen.show(what)
        self._console.print(what)

    def output(self, command: str, text: str) -> None:
        """Print it; the picture would be too long with it."""
        self._screen.output(command, text)

    def status(self, view: View, moves: Sequence[CircuitMove]) -> None:
        """The status changed; its lines are printed in both places."""
        # Its lines come from here, by `show`; the other screen only needs to know.
        self._screen.know(view)
        super().status(view, moves)

    def still(self) -> None:
        """Draw the table as of now."""
        self._screen.still()
        self._console.print(self.table())

    def tools(self, names: tuple[str, ...]) -> None:
        """The client listed the tools."""
        self._screen.tools(names)
        super().tools(names)

    def save(self, path: Path) -> None:
        """Write the picture as SVG."""
        drawn = self._console.export_svg(title="make demo", unique_id="demo")
        # A picture in a document fetches nothing: the reader's own monospace font will do.
        path.write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL))


def status_table(view: View, tools: Sequence[str]) -> Table:
    """One line a backend; the tools are those that a client of the gateway sees."""
    phase = Text.assemble(
        "demo  ", (view.phase or "starting", _COLOURS.get(view.phase, "")), f"  {len(tools)} tools at the client"
    )
    table = Table(title=phase, title_justify="left", title_style="bold", box=SIMPLE)
    for heading in ("backend", "health", "circuit"):
        table.add_column(heading, min_width=10)
    for heading in ("failures", "open until", "tools"):
        table.add_column(heading, justify="right")
    table.add_column("MCP revision")
    for backend in view.backends:
        until, left = backend.open_until, seconds_left(backend.open_until)
        table.add_row(
            backend.name,
            Text(backend.health, style=_COLOURS.get(backend.health, "")),
            Text(backend.circuit, style=_COLOURS.get(backend.circuit, "")),
            str(backend.failures),
            f"{until:%H:%M:%S}Z, {left:.0f} s" if until else "",
            str(sum(name.startswith(f"{backend.name}_") for name in tools)),
            backend.revision,
        )
    return table
