"""Drawings as SVG that stand inside the page: colours are the page's own, ids and bytes always the same."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

# Stand-ins that matplotlib draws with; the page's variables take their places.
COLOURS = {
    "#010203": "var(--ink-soft)", "#010204": "var(--accent)", "#010205": "var(--line)", "#010206": "var(--second)",
    "#010207": "var(--third)",
}  # fmt: skip
INK, LINE, GRID, SECOND, THIRD = COLOURS
SERIES = ((LINE, "o"), (SECOND, "s"), (THIRD, "D"))
"""Colour and mark of the first, second and third model; further ones begin anew."""
SIZE_INCHES = (5.6, 2.7)
MANY_LABELS = 8
LEAST_SHARE = 0.05
"""Of an axis of shares: so much it shows, that nothing looks large."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A score of one group: its value between its interval's ends, and of how many cases."""

    group: str
    value: float
    low: float
    high: float
    n: int


def loss_curve(name: str, curve: Sequence[Sequence[float]]) -> str:
    """An <svg> of loss (nats per token) over steps. `curve` holds [step, loss] pairs."""
    sink = io.StringIO()
    with _drawing(sink, f"loss {name}") as axes:
        axes.plot([step for step, _ in curve], [loss for _, loss in curve], color=LINE, linewidth=1.6)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per token)")
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.locator_params(axis="y", nbins=5)
    return inline(sink.getvalue(), f"Loss of the run {name} over its steps")


def intervals(title: str, series: Mapping[str, Sequence[Point]], unit: str, *, as_share: bool) -> str:
    """An <svg> of scores with their 95 % intervals by group, a colour and a mark for every model."""
    groups = sorted({point.group for points in series.values() for point in points})
    sink = io.StringIO()
    with _drawing(sink, f"{title} {' '.join(series)}") as axes:
        for number, points in enumerate(series.values()):
            colour, mark = SERIES[number % len(SERIES)]
            aside = 0.14 * (number - (len(series) - 1) / 2)
            at = [groups.index(point.group) + aside for point in points]
            axes.vlines(at, [p.low for p in points], [p.high for p in points], color=colour, linewidth=1.4)
            axes.plot(at, [p.value for p in points], mark, color=colour, markersize=5)
        axes.set_ylabel(unit)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        every = -(-len(groups) // MANY_LABELS)
        axes.set_xticks(range(0, len(groups), every), groups[::every])
        axes.locator_params(axis="y", nbins=5)
        if as_share:
            highest = max((point.high for points in series.values() for point in points), default=0.0)
            axes.set_ylim(-0.04 * max(highest, LEAST_SHARE), 1.1 * max(highest, LEAST_SHARE))
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    return inline(sink.getvalue(), f"{title}, of {', '.join(series)}")


@contextmanager
def _drawing(sink: io.StringIO, salt: str) -> Iterator[Any]:
    """Axes to draw on, plain; at the end the drawing is written to `sink`, for the same salt with the same ids."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "font.size": 9,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.spines["bottom"].set_visible(True)
        axes.spines["bottom"].set_color(GRID)
        yield axes
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def inline(svg: str, label: str) -> str:
    """matplotlib's document as an element of a page: no prolog, metadata, name spaces or fonts of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # inside a page it would reach beyond the drawing
    # Several drawings may stand in one page: of ids only those that are referred to stay, which the salt tells apart.
    svg = re.sub(r'(<(?!clipPath)\w+) id="(?!m[0-9a-f]{10}")[^"]*"', r"\1", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    for stand_in, colour in COLOURS.items():
        svg = svg.replace(stand_in, colour)
    label = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg class="curve" role="img" aria-label="{label}"', 1).strip()
