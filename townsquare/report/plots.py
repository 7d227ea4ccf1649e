"""Loss curves as SVG that stands inside the page: colours are the page's own, ids and bytes always the same."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

# Stand-ins that matplotlib draws with; the page's variables take their places.
COLOURS = {"#010203": "var(--ink-soft)", "#010204": "var(--accent)", "#010205": "var(--line)"}
INK, LINE, GRID = COLOURS
SIZE_INCHES = (5.6, 2.7)


def loss_curve(name: str, curve: Sequence[Sequence[float]]) -> str:
    """An <svg> of loss (nats per token) over steps. `curve` holds [step, loss] pairs."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": f"loss {name}", "font.family": "sans-serif", "font.size": 9,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.parse_math": False,
    }  # fmt: skip
    sink = io.StringIO()
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.plot([step for step, _ in curve], [loss for _, loss in curve], color=LINE, linewidth=1.6)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per token)")
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.locator_params(axis="y", nbins=5)
        axes.spines[:].set_visible(False)
        axes.spines["bottom"].set_visible(True)
        axes.spines["bottom"].set_color(GRID)
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline(sink.getvalue(), f"Loss of the run {name} over its steps")


def inline(svg: str, label: str) -> str:
    """matplotlib's document as an element of a page: no prolog, metadata, name spaces or fonts of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # inside a page it would reach beyond the drawing
    svg = re.sub(r'(<(?!clipPath)\w+) id="[^"]*"', r"\1", svg)  # several drawings may stand in one page
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    for stand_in, colour in COLOURS.items():
        svg = svg.replace(stand_in, colour)
    label = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg class="curve" role="img" aria-label="{label}"', 1).strip()
