"""The plot of docs/operations.md, drawn from the results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "bench", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402  the backend is chosen first

_CURVES: Final = (
    ("apply_to_deployment_ms", "apply → Deployment exists", "#1f6f8b", 1000),
    ("flip_to_status_ms", "failed check → status written", "#7a5195", 300),
    ("flip_to_gateway_ms", "failed check → gateway refuses calls", "#ef9b20", 1000),
)


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Write how the times are spread."""
    known = [curve for curve in _CURVES if curve[0] in figures]
    if not known:
        return
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for key, title, color, asked_ms in known:
        values = sorted(figures[key])
        shares = [(rank + 1) / len(values) * 100 for rank in range(len(values))]
        axes.plot(values, shares, color=color, label=title, drawstyle="steps-post")
        axes.plot([asked_ms], [99], "|", color=color, markersize=14, markeredgewidth=2)
    axes.axhline(99, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("ms (bar on the grey line: asked for at p99)")
    axes.set_ylabel("share, %")
    axes.legend(frameon=False, loc="center right")
    figure.savefig(folder / "bench-operator.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
