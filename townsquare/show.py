"""How a receipt looks on a terminal: what went in, what came out, how long it took."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from townsquare.receipts import Receipt

MANY = 12  # reasons shown before the rest is summed up


def show_receipt(receipt: Receipt, console: Console) -> None:
    """Print one stage's receipt as a small table."""
    title = f"{receipt.stage} {receipt.name}" if receipt.name else receipt.stage
    state = "as before, nothing to do" if receipt.skipped else f"{receipt.seconds:,.1f} s"
    table = Table(title=f"{title}: {state}", title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in {**receipt.counts, **receipt.results}.items():
        if name not in ("outputs", "curve"):
            for label, text in _rows(name, value):
                table.add_row(label, text)
    table.add_row("memory", f"{receipt.peak_memory_bytes / 1e6:,.0f} MB at its peak")
    table.add_row("fingerprint", receipt.fingerprint[:16])
    console.print(table)


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    label = name.replace("_", " ")
    if isinstance(value, dict) and all(not isinstance(v, (dict, list)) for v in value.values()):
        items = sorted(value.items(), key=lambda item: -item[1] if _is_number(item[1]) else 0)
        shown = [f"{key.replace('_', ' ')} {_text(v)}" for key, v in items[:MANY]]
        return [(label, ", ".join(shown) + (f" and {len(items) - MANY} more" if len(items) > MANY else ""))]
    if isinstance(value, dict):
        rows = [(f"{label} {key}", inner) for key, v in value.items() for _, inner in _rows(key, v)]
        return rows if len(rows) <= MANY else [*rows[:MANY], (label, f"and {len(rows) - MANY} more (--json)")]
    if isinstance(value, list):
        return [(label, f"{len(value)} entries (--json)")]
    return [(label, _text(value))]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
