"""The plots of docs/gateway.md, drawn from the results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "bench", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402  the backend is chosen first

_NAMES: Final = {"vmcp": "vmcp, Legacy", "vmcp_modern": "vmcp, Modern", "envoy": "Envoy mcp_router"}
_COLORS: Final = {"vmcp": "#1f6f8b", "vmcp_modern": "#7a5195", "envoy": "#9aa5ab"}
_CELLS: Final = {
    "1kb_1": "1 connection",
    "1kb_32": "32 connections",
    "1kb_256": "256 connections",
    "64kb_32": "64 KB results",
    "1kb_32_200": "200 backends",
}


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Write one SVG for each part whose figures are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if "cells" in figures:
        _grouped(figures["cells"], "cpu_us", "CPU µs a call (median of the rounds)", folder / "bench-call-cpu.svg")
        _grouped(figures["cells"], "p99_ms", "p99 of a call, ms", folder / "bench-call-p99.svg")


def _grouped(cells: Mapping[str, Any], member: str, label: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.2))
    width = 0.8 / len(_NAMES)
    for nth, (name, title) in enumerate(_NAMES.items()):
        values = [cells[cell].get(name, {}).get(member, 0) for cell in _CELLS]
        places = [position + (nth - 1) * width for position in range(len(_CELLS))]
        axes.bar(places, values, width * 0.92, color=_COLORS[name], label=title)
        for place, value in zip(places, values, strict=True):
            axes.text(place, value, f"{value:.0f}" if value >= 10 else f"{value:.1f}", ha="center", va="bottom", size=8)
    axes.set_xticks(range(len(_CELLS)), list(_CELLS.values()))
    axes.set_ylabel(label)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
