"""The report's pictures, as SVG inside the page: no file beside it, no request."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence

ROW, LABEL, WIDTH, FIGURE = 26, 230, 760, 90
COLOURS = ("#2f6f8f", "#b4632d", "#5b7f3a", "#7a5195")


def bars(rows: Sequence[tuple[str, str, int]]) -> str:
    """Horizontal bars of (stage, reason, posts), each stage on its own scale, numbers at the end of the bars."""
    if not rows:
        return ""
    largest = {stage: max([number for s, _, number in rows if s == stage] + [1]) for stage, _, _ in rows}
    parts: list[str] = []
    y, before = 0, None
    for stage, reason, number in rows:
        if stage != before:
            y += 34
            parts.append(f'<text x="0" y="{y - 8}" class="head">{html.escape(stage)}</text>')
            before = stage
        length = max((WIDTH - LABEL - FIGURE) * number / largest[stage], 1.5 if number else 0)
        kind = reason if reason in ("seen", "kept", "events") else "out"
        parts.append(
            f'<text x="{LABEL - 12}" y="{y + 16}" text-anchor="end">{html.escape(reason.replace("_", " "))}</text>'
            f'<rect x="{LABEL}" y="{y + 4}" width="{length:.1f}" height="{ROW - 9}" rx="2" class="{kind}"/>'
            f'<text x="{LABEL + length + 8:.1f}" y="{y + 16}" class="number">{number:,}</text>'
        )
        y += ROW
    label = "Posts by what became of them"
    return f'<svg viewBox="0 0 {WIDTH} {y + 6}" role="img" aria-label="{label}" class="bars">{"".join(parts)}</svg>'


def curves(runs: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Training loss over steps, a line a run."""
    if not runs:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(
        {"svg.hashsalt": "townsquare", "font.size": 10, "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots()
        for (name, points), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
            steps, losses = zip(*points, strict=True)
            axes.plot(steps, losses, label=name, color=colour, linewidth=1.6)
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats a token")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.legend(frameon=False)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
