"""The plots of docs/health.md, drawn from the results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "bench", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402  the backend is chosen first

_OURS: Final = "#1f6f8b"
_OTHERS: Final = "#9aa5ab"
_ASKED: Final = "#c0392b"


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Write one SVG for each part whose figures are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if "checks_per_second_per_core" in figures:
        _saturation(figures, folder / "bench-saturation.svg")
    curves = {
        "10,000 targets at 30 s, sockets": "fleet_lateness_curve_ms",
        "100,000 targets at 30 s, simulated": "simulated_lateness_curve_ms",
        "trials at the end of an open time": "trial_lateness_curve_ms",
    }
    known = {title: figures[key] for title, key in curves.items() if key in figures}
    if known:
        _lateness(known, folder / "bench-lateness.svg")
    if "cpu_share" in figures and "simulated_cpu_share" in figures:
        _budget(figures, folder / "bench-budget.svg")


def _saturation(figures: Mapping[str, Any], path: Path) -> None:
    names = {"ours": "vmcp", "envoy": "Envoy", "blackbox": "blackbox_exporter"}
    rounds = figures["saturation_rounds"]
    figure, axes = plt.subplots(figsize=(7, 2.4))
    for row, (key, label) in enumerate(reversed(names.items())):
        turns = sorted(rounds[key])
        middle = turns[len(turns) // 2]
        axes.barh(row, middle, color=_OURS if key == "ours" else _OTHERS, height=0.6)
        axes.plot(turns, [row] * len(turns), "|", color="black", markersize=8)
        axes.text(max(turns), row, f"  {middle:,}", va="center")
        axes.text(0, row, f"{label}  ", va="center", ha="right")
    ours = len(names) - 1
    axes.plot([15_000] * 2, [ours - 0.42, ours + 0.42], color=_ASKED, linewidth=1, linestyle="--")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, max(max(turns) for turns in rounds.values()) * 1.15)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("checks per second of CPU (bar: median, ticks: rounds, dashed: asked for)")
    _save(figure, path)


def _lateness(curves: Mapping[str, Mapping[str, float]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for color, (title, curve) in zip((_OURS, "#7a5195", "#ef9b20"), curves.items(), strict=False):
        shares = [float(share) for share in curve]
        axes.plot([max(value, 0.001) for value in curve.values()], shares, marker=".", color=color, label=title)
    axes.axvline(100, color=_ASKED, linewidth=1, linestyle="--")
    axes.axhline(99, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("lateness, ms (dashed: asked for at p99)")
    axes.set_ylabel("share of checks, %")
    axes.legend(frameon=False, loc="upper left")
    _save(figure, path)


def _budget(figures: Mapping[str, Any], path: Path) -> None:
    bars = (
        ("10,000 targets, sockets", figures["cpu_share"], 0.05),
        ("100,000 targets, simulated", figures["simulated_cpu_share"], 0.25),
    )
    figure, axes = plt.subplots(figsize=(7, 1.8))
    for row, (title, share, asked) in enumerate(reversed(bars)):
        axes.barh(row, share * 100, color=_OURS, height=0.55)
        axes.plot([asked * 100] * 2, [row - 0.4, row + 0.4], color=_ASKED, linestyle="--", linewidth=1)
        axes.text(max(share, asked if share > asked / 2 else 0) * 100, row, f"  {share:.1%}", va="center")
        axes.text(0, row, f"{title}  ", va="center", ha="right")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 30)
    axes.set_xlabel("CPU, % of one core, all targets checked every 30 s (dashed: asked for)")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
