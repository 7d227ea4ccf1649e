"""Statements: what a lender lent, what runs made of it, what is owed, and whether the step logs say the same."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import re
from importlib import resources
from pathlib import Path
from typing import Any

from townsquare.errors import ConfigError
from townsquare.fleet.book import HOUR, Book, book_of
from townsquare.fleet.charging import charge, is_of, logs, run_of, steps_done
from townsquare.fleet.config import StatementConfig
from townsquare.fleet.meter import read_lines
from townsquare.fleet.pools import Lease, midnight
from townsquare.ledger import Ledger
from townsquare.square import Square, write_atomically, write_json

Statement = dict[str, Any]
SECONDS = ("reserved", "used", "lost", "idle")


def write_statements(square: Square, config: StatementConfig, at: dt.datetime | None = None) -> list[Statement]:
    """Charge what runs have used, then write a JSON, a CSV and an HTML file for each lender, and record them.

    Raises ConfigError for a lender that lends nothing here, ProofError when the ledger was altered.
    """
    charge(square)
    at = at or dt.datetime.now(dt.UTC)
    first, last = config.starts or at.date().replace(day=1).isoformat(), config.ends or at.date().isoformat()
    if midnight(first) > midnight(last):
        raise ConfigError(f"the statement ends ({last}) before it starts ({first})", remedy="Mend them.")
    with Ledger.open(square) as ledger:
        head = ledger.verify()
        book = book_of(ledger.entries())
        lenders = sorted({pool.lender for pool in book.pools.values()})
        if config.lender is not None and config.lender not in lenders:
            known = ", ".join(lenders) or "none"
            raise ConfigError(f"nobody called {config.lender!r} lends GPUs here", remedy=f"Lenders: {known}")
        found = []
        for lender in [config.lender] if config.lender else lenders:
            made = statement(square, book, lender, (first, last), at)
            made["ledger"] = {"rows": head.seq, "head": head.hash} if head else None
            made["files"] = _write(square, made)
            ledger.append("statement_issued", _entry(made))
            found.append(made)
    return found


def statement(square: Square, book: Book, lender: str, days: tuple[str, str], at: dt.datetime) -> Statement:
    """The figures of one lender, on the days from the first to the last inclusive; what is to come is not counted."""
    leases = [lease for lease in book.leases.values() if book.pool_of(lease).lender == lender]
    lines = [_lease_line(book, lease, days, at) for lease in leases]
    ids = {lease.id for lease in leases}
    runs = _run_lines(book, ids, days)
    known = [line["value_usd"] for line in lines]
    totals: dict[str, Any] = {f"{name}_gpu_hours": _sum(lines, f"{name}_gpu_hours") for name in SECONDS}
    totals["value_usd"] = None if None in known else sum(known)
    totals["due_usd"] = None if any(line["due_usd"] is None for line in lines) else _sum(lines, "due_usd")
    return {
        "lender": lender,
        "starts": days[0],
        "ends": days[1],
        "counted_until": min(_after(days[1]), at).isoformat(timespec="seconds"),
        "totals": totals,
        "leases": lines,
        "runs": runs,
        "reconciliation": reconcile(square, book, ids, days),
    }


def _sum(lines: list[dict[str, Any]], field: str) -> float:
    return float(sum(line[field] for line in lines))


def _after(day: str) -> dt.datetime:
    return midnight(day) + dt.timedelta(days=1)


def _lease_line(book: Book, lease: Lease, days: tuple[str, str], at: dt.datetime) -> dict[str, Any]:
    """One lease's figures. Idle is what was reserved and neither used nor lost."""
    pool = book.pool_of(lease)
    start, end = midnight(days[0]), min(_after(days[1]), at)
    ran = book.running_seconds(lease, *days)
    reserved = lease.reserved_seconds(start, end)
    charged = reserved if lease.charge == "reserved" else ran["used"] + ran["lost"]
    price, source = lease.price_usd_per_gpu_hour, "the lease"
    if price is None and lease.in_kind:
        price, source = pool.list_price()
    value = None if price is None else charged / HOUR * price
    paid = lease.price_usd_per_gpu_hour is not None or lease.in_kind
    return {
        "lease": lease.id,
        "pool": pool.id,
        "gpu": pool.gpu,
        "gpus": lease.gpus,
        "starts": lease.starts,
        "ends": lease.ends,
        "recalled_at": lease.recalled_at,
        "windows": list(lease.windows),
        "reserved_gpu_hours": reserved / HOUR,
        "used_gpu_hours": ran["used"] / HOUR,
        "lost_gpu_hours": ran["lost"] / HOUR,
        "idle_gpu_hours": (reserved - ran["used"] - ran["lost"]) / HOUR,
        "charge": lease.charge,
        "charged_gpu_hours": charged / HOUR,
        "in_kind": lease.in_kind,
        "price_usd_per_gpu_hour": price,
        "price_source": source if price is not None else None,
        "value_usd": value,
        "due_usd": (0.0 if lease.in_kind else value) if paid else None,
        "budget_gpu_hours": lease.budget_gpu_hours,
        "budget_usd": lease.budget_usd,
        **{f"budget_left_{unit}": left for unit, left in book.budget_left(lease, at).items()},
    }


def _run_lines(book: Book, leases: set[str], days: tuple[str, str]) -> list[dict[str, Any]]:
    """What each run took under these leases: one line a run, session and lease."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in book.usage.values():
        if row["lease"] not in leases or not days[0] <= row["day"] <= days[1]:
            continue
        line = found.setdefault(
            (row["run"], row["fingerprint"], row["session"]),
            {
                **{field: row[field] for field in ("run", "fingerprint", "session", "lease", "device", "devices")},
                "first_day": row["day"],
                "last_day": row["day"],
                "steps": 0,
                "used_gpu_hours": 0.0,
                "lost_gpu_hours": 0.0,
            },
        )
        line["last_day"] = max(line["last_day"], row["day"])
        line["first_day"] = min(line["first_day"], row["day"])
        line["steps"] += row["steps"]
        for name in ("used", "lost"):
            line[f"{name}_gpu_hours"] += row[f"{name}_seconds"] * row["devices"] / HOUR
    return [found[key] for key in sorted(found)]


def reconcile(square: Square, book: Book, leases: set[str], days: tuple[str, str]) -> list[dict[str, Any]]:
    """For each run, seconds used as the ledger has them beside the sum of the step log, and their difference.

    A run that was made anew since has no step log any more; its `step_log_seconds` are null.
    """
    found = []
    for log in logs(square):
        name, fingerprint = run_of(log)
        mine = [r for r in book.usage.values() if (r["run"], r["fingerprint"]) == (name, fingerprint)]
        mine = [row for row in mine if row["lease"] in leases and days[0] <= row["day"] <= days[1]]
        if not mine:
            continue
        sessions, folder, said = {row["session"] for row in mine}, square.runs / name, None
        if is_of(folder, fingerprint):
            kept = [s for s in read_lines(folder / "steps.jsonl") if s["step"] <= steps_done(folder)]
            inside = [s for s in kept if s.get("session") in sessions and days[0] <= s["at"][:10] <= days[1]]
            said = float(sum(step["seconds"] for step in inside))
        used = sum(row["used_seconds"] for row in mine)
        found.append(
            {
                "run": name,
                "fingerprint": fingerprint,
                "ledger_seconds": round(used, 3),
                "step_log_seconds": None if said is None else round(said, 3),
                "difference_seconds": None if said is None else round(used - said, 3) + 0.0,
            }
        )
    return found


def _entry(made: Statement) -> dict[str, Any]:
    """The ledger's row about a statement that was issued."""
    fields = {name: made[name] for name in ("lender", "starts", "ends", "counted_until", "totals")}
    return {**fields, "sha256": {Path(file).suffix[1:]: digest for file, digest in made["files"].items()}}


def _write(square: Square, made: Statement) -> dict[str, str]:
    """Write the three files; returns their names with SHA-256 (hex)."""
    stem = f"{re.sub('[^a-z0-9]+', '-', made['lender'].lower()).strip('-') or 'lender'}_{made['starts']}_{made['ends']}"
    square.statements.mkdir(exist_ok=True)
    path = square.statements / f"{stem}.json"
    write_json(path, made)
    write_atomically(path.with_suffix(".csv"), as_csv(made).encode())
    write_atomically(path.with_suffix(".html"), as_page(made).encode())
    files = [path, path.with_suffix(".csv"), path.with_suffix(".html")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


COLUMNS = (
    "line", "lender", "starts", "ends", "lease", "pool", "gpu", "gpus", "run", "session", "reserved_gpu_hours",
    "used_gpu_hours", "lost_gpu_hours", "idle_gpu_hours", "charge", "charged_gpu_hours", "price_usd_per_gpu_hour",
    "value_usd", "due_usd", "budget_left_gpu_hours", "budget_left_usd",
)  # fmt: skip


def as_csv(made: Statement) -> str:
    """One line a lease, one a run and session, one for the total. What is unknown is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    whole = {"lender": made["lender"], "starts": made["starts"], "ends": made["ends"]}
    for line in made["leases"]:
        writer.writerow({**line, "line": "lease", **whole})
    for run in made["runs"]:
        writer.writerow({**run, "line": "run", **whole, "starts": run["first_day"], "ends": run["last_day"]})
    writer.writerow({**made["totals"], "line": "total", **whole})
    return out.getvalue()


def as_page(made: Statement) -> str:
    """The statement as one self-contained page that prints on paper."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"hours": _hours, "money": _money, "day": _day}
    text = resources.files("townsquare.fleet").joinpath("statement.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(made)


def _hours(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}" if abs(value) >= 1 else f"{value:,.4f}"


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}"


def _day(value: str) -> str:
    found = dt.date.fromisoformat(value[:10])
    return f"{found.day} {found:%B %Y}"
