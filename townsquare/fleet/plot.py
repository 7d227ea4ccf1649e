"""The picture of `townsquare fleet validate --plot`: errors of step time by group, and of memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from townsquare.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
MEDIAN_GATE, TENTH_GATE = 0.08, 0.20  # of step time: shares that half and nine tenths of the errors should stay below
SPREAD = 0.28  # of a row's height over which its points are strewn


def plot_errors(path: Path, step_time: Mapping[str, Array], memory: Array, note: str) -> None:
    """Write the picture; `step_time` holds errors (estimated over measured, less 1) by group, `memory` all of them.

    Raises ConfigError for a kind of file that cannot be drawn.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"a plot cannot be {path.suffix or 'without a suffix'}", remedy="Use .png, .svg or .pdf.")
    with matplotlib.rc_context({"font.size": 9, "svg.hashsalt": "townsquare"}):
        figure = Figure(figsize=(10, 2.2 + 0.24 * len(step_time)), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(3, 1))
        _by_group(left, step_time)
        _distribution(right, memory)
        figure.suptitle(note, fontsize=9)
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _by_group(ax: Axes, errors: Mapping[str, Array]) -> None:
    """A row a group, the worst at the top: a point a run, a bar at the median."""
    rng = np.random.default_rng(0)
    names = sorted(errors, key=lambda name: float(np.median(np.abs(errors[name]))))
    ax.axvspan(-TENTH_GATE, TENTH_GATE, color="0.93")
    ax.axvspan(-MEDIAN_GATE, MEDIAN_GATE, color="0.85")
    for row, name in enumerate(names):
        values = np.clip(errors[name], -0.7, 0.7)
        heights = row + rng.uniform(-SPREAD, SPREAD, len(values))
        ax.scatter(values, heights, s=7, alpha=0.5, color="#1f5fa8", linewidths=0)
        ax.plot([np.median(values)] * 2, [row - 0.4, row + 0.4], color="#c23b22", lw=2)
    ax.set_yticks(range(len(names)), [f"{name} ({len(errors[name])})" for name in names])
    _percent(
        ax,
        (-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6),
        "step time, estimated over measured; groups (runs), the worst at the top",
    )


def _distribution(ax: Axes, errors: Array) -> None:
    ax.hist(np.clip(errors, -0.7, 0.7), bins=28, range=(-0.7, 0.7), color="#1f5fa8")
    ax.set_ylabel("runs")
    _percent(ax, (-0.5, 0, 0.5), "memory, likewise")


def _percent(ax: Axes, ticks: tuple[float, ...], label: str) -> None:
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_xticks(ticks, [f"{tick:+.0%}" if tick else "0" for tick in ticks])
    ax.set_xlabel(label)
