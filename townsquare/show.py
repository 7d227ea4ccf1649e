"""How receipts, grants, the ledger and a square's standing look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from townsquare import status
from townsquare.receipts import Receipt
from townsquare.square import Square

if TYPE_CHECKING:
    from townsquare.consent.grants import Grant
    from townsquare.ledger import Entry

FOR_THE_PAGE = ("outputs", "curve", "about", "details", "by_language")
"""Parts of results that a terminal has no room for."""
FEW = 4  # entries of a list that are shown
MANY = 12  # reasons shown before the rest is summed up


def show_receipt(receipt: Receipt, console: Console) -> None:
    """Print one stage's receipt as a small table."""
    title = f"{receipt.stage} {receipt.name}" if receipt.name else receipt.stage
    state = "as before, nothing to do" if receipt.skipped else f"{receipt.seconds:,.1f} s"
    table = _plain_table(f"{title}: {state}")
    for name, value in {**receipt.counts, **receipt.results}.items():
        if name not in FOR_THE_PAGE:
            for label, text in _rows(name, value):
                table.add_row(label, text)
    table.add_row("memory", f"{receipt.peak_memory_bytes / 1e6:,.0f} MB at its peak")
    table.add_row("fingerprint", receipt.fingerprint[:16])
    console.print(table)


def show_results(title: str, results: Mapping[str, Any], console: Console) -> None:
    """Print named figures as a small table."""
    table = _plain_table(title)
    for name, value in results.items():
        for label, text in _rows(name, value):
            table.add_row(label, text)
    console.print(table)


def show_validation(results: Mapping[str, Any], console: Console) -> None:
    """Print the errors of `fleet validate`, and name its worst runs and groups."""
    lists = ("worst", "groups")
    show_results("fleet validate", {k: v for k, v in results.items() if k not in lists}, console)
    for run in results.get("worst", ()):
        console.print(
            f"  {run['run']}: {run['measured_seconds']:,.4g} s measured, {run['error']:+.1%}", highlight=False
        )
    for name, group in list(results.get("groups", {}).items())[:FEW]:
        said = f"{group['runs']} runs, median error {group['median_abs_error']:.1%}"
        console.print(f"  group {name}: {said}", highlight=False)


def show_plan(found: Mapping[str, Any], console: Console) -> None:
    """Print a fleet plan: the best one, the front it was chosen from, why it wins, what limits it, buy or rent."""
    parts = {"asked": found["asked"], "in time": found["in_time"], **found["plan"], "why": found["why"]["wins"]}
    if "saved_by_twice_the" in found["why"]:
        saved = found["why"]["saved_by_twice_the"]
        parts["limited by"] = ", ".join(f"{name} ({share:.1%} saved by twice of it)" for name, share in saved.items())
    if found["together"]:
        parts["all pools together"] = {k: v for k, v in found["together"].items() if k not in ("gpus", "layout")}
    parts |= {"passed over": found["passed_over"], "buy or rent": found["buy_or_rent"], "assumed": found["assumed"]}
    show_results("fleet plan", {key: value for key, value in parts.items() if value not in ({}, None)}, console)
    table = Table(title="fastest to cheapest", title_justify="left", box=None, padding=(0, 2))
    for heading, side in (("GPUs", "left"), ("days", "right"), ("GPU-hours", "right"), ("USD", "right")):
        table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in found["front"]:
        gpus = ", ".join(f"{count:,} {name}" for name, count in row["gpus"].items())
        usd = "unknown" if row["usd"] is None else f"{row['usd']:,.0f}"
        table.add_row(gpus, f"{row['days']:,.1f}", f"{row['gpu_hours']:,.0f}", usd)
    console.print(table)
    for row in found["why"].get("beside_it", ()):
        longer = f"{row['longer']:+.1%}, {row['why']}" if "longer" in row else row["why"]
        console.print(f"  {row['instead']} instead: {longer}", highlight=False)


def show_runs(runs: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print training runs, one a row."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "objective", "from", "steps", "loss", "bits/byte", "tokens/s", "hours"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "steps")
    figures = {"loss": ".3f", "bits_per_byte": ".3f", "tokens_per_second": ",.0f", "step_hours": ".3f"}
    for run in runs:
        steps = f"{run['steps']:,}" if run["ended"] else f"{run['steps']:,} so far"
        shown = ["-" if run[name] is None else format(run[name], form) for name, form in figures.items()]
        table.add_row(run["name"], run["objective"] or "-", run["start_from"] or "-", steps, *shown)
    console.print(table if runs else "No run yet. See: townsquare train --help")


def show_compared(names: Sequence[str], rows: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print in what runs differ, one setting or figure a row."""
    table = Table(box=None, padding=(0, 2))
    for heading in ("", *names):
        table.add_column(heading, overflow="fold")
    for key, row in rows.items():
        values = [format(row[n], ".5g") if isinstance(row[n], float) else str(row[n]) for n in names]
        table.add_row(key.replace("_", " "), *("-" if value == "None" else value for value in values))
    console.print(table if rows else "They do not differ.")


def show_grants(grants: Sequence[Grant], console: Console) -> None:
    """Print every grant, one a row."""
    table = Table(box=None, padding=(0, 2))
    for heading in ("id", "grantor", "grantee", "purposes", "covers", "visibilities", "until"):
        table.add_column(heading, overflow="fold")
    for grant in grants:
        until = "revoked" if grant.revoked else grant.ends or "open"
        covers = ", ".join([*grant.sources, *grant.networks, *grant.authors])
        row = (grant.id, grant.grantor, grant.grantee, ", ".join(grant.purposes), covers)
        table.add_row(*row, ", ".join(grant.visibilities), until)
    console.print(table if grants else "No grant yet: nothing may be used. See: townsquare grant add --help")


def show_entries(entries: Sequence[Entry], console: Console) -> None:
    """Print the ledger's rows."""
    table = Table(box=None, padding=(0, 2))
    for heading in ("row", "at", "kind", "about", "hash"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        about = " ".join(str(entry.body[key]) for key in ("stage", "name", "id") if entry.body.get(key))
        table.add_row(str(entry.seq), entry.at[:19], entry.kind, about, entry.hash[:16])
    console.print(table)


def show_status(square: Square, console: Console) -> None:
    """Print where a square stands and what to run next."""
    table = Table(title=str(square.root), title_justify="left", box=None, padding=(0, 2))
    for heading, side in (("stage", "left"), ("state", "left"), ("seconds", "right"), ("fingerprint", "left")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for standing in status.standings(square):
        receipt = standing.receipt
        name = f"{receipt.stage} {receipt.name}" if receipt.name else receipt.stage
        state = "stale: other " + ", ".join(standing.stale) if standing.stale else "done"
        table.add_row(name, state, f"{receipt.seconds:,.1f}", receipt.fingerprint[:16])
    console.print(table)
    console.print(f"Next: {status.next_command(square)}", highlight=False)


def _plain_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    return table


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    label = name.replace("_", " ")
    if isinstance(value, dict) and all(not isinstance(v, (dict, list)) for v in value.values()):
        items = [item for item in value.items() if not _is_end(item[0], value)]
        items.sort(key=lambda item: -item[1] if _is_number(item[1]) else 0)
        shown = [f"{key.replace('_', ' ')} {_text(v)}{_between(key, value)}" for key, v in items[:MANY]]
        return [(label, ", ".join(shown) + (f" and {len(items) - MANY} more" if len(items) > MANY else ""))]
    if isinstance(value, dict):
        rows = [(f"{label} {key}", inner) for key, v in value.items() for _, inner in _rows(key, v)]
        return rows if len(rows) <= MANY else [*rows[:MANY], (label, f"and {len(rows) - MANY} more (--json)")]
    if isinstance(value, list):
        short = len(value) <= FEW and not any(isinstance(one, (dict, list)) for one in value)
        return [(label, "; ".join(map(_text, value)) if short else f"{len(value)} entries (--json)")]
    return [(label, _text(value))]


def _is_end(key: str, values: Mapping[str, Any]) -> bool:
    """Whether this is an end of another value's interval."""
    return key.endswith(("_low", "_high")) and key.rsplit("_", 1)[0] in values


def _between(key: str, values: Mapping[str, Any]) -> str:
    """The interval of a value that has one, in brackets."""
    low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
    return "" if low is None or high is None else f" ({_text(low)} to {_text(high)})"


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
