"""The plot of the soak."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "soak", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402  the backend is chosen first

_COLOR = "#1f6f8b"
_ROWS = (
    ("rss_mb", "memory, MB"),
    ("lateness_p99_ms", "lateness p99, ms"),
    ("transitions_per_s", "transitions /s"),
    ("status_writes_per_s", "status writes /s"),
)


def draw(samples: Sequence[dict[str, float]], path: Path) -> None:
    """Memory above, what happened meanwhile below, over the minutes."""
    minutes = [each["at_s"] / 60 for each in samples]
    figure, rows = plt.subplots(len(_ROWS), sharex=True, figsize=(7, 6.5))
    for axes, (key, label) in zip(rows, _ROWS, strict=True):
        axes.plot(minutes, [each[key] for each in samples], color=_COLOR, linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        axes.yaxis.set_label_coords(-0.09, 0.5)
    rows[-1].set_xlabel("minutes")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
