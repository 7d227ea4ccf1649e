"""Commands about lent GPUs: pools, leases, what runs ask for, and what lenders are told."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer
from rich.console import Console

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json
from townsquare.fleet.config import AskConfig, LeaseConfig, PoolConfig, StatementConfig
from townsquare.options import with_options
from townsquare.square import Square, make_config

pool_app = typer.Typer(no_args_is_help=True, help="Whose GPUs there are.")
lease_app = typer.Typer(no_args_is_help=True, help="On which terms they are lent, and which run has them.")

LeaseArgument = Annotated[str, typer.Argument(help="The lease's id, as `fleet lease list` shows it.")]


@pool_app.command("add")
@with_options(PoolConfig)
def pool_add(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Record a pool: GPUs of one kind that one lender has.

    Examples: townsquare fleet pool add --id north --lender "North Works" --gpu "H100 SXM" --gpus 2048

    townsquare fleet pool add --file fleet.toml
    """
    from townsquare.fleet import pools

    place = Square.open(square)
    added = pools.pools_of(make_config(PoolConfig, settings))
    for pool in added:
        pools.add(place, pool)
    if as_json:
        echo_json([dataclasses.asdict(pool) for pool in added])
        return
    for pool in added:
        typer.echo(f"Recorded pool {pool.id}: {pool.gpus:,} {pool.gpu} of {pool.lender}.")


@pool_app.command("list")
def pool_list(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show every pool, with what is leased and allocated of it.

    Example: townsquare fleet pool list
    """
    from townsquare.fleet.book import read_book

    book = read_book(Square.open(square))
    rows = []
    for pool in book.pools.values():
        leases = [lease for lease in book.leases.values() if lease.pool == pool.id]
        held = sum(one.gpus for one in book.allocations.values() if one.lease in {lease.id for lease in leases})
        rows.append(dataclasses.asdict(pool) | {"leases": [lease.id for lease in leases], "allocated": held})
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        leased = f"{row['allocated']:,} at work; leases: {', '.join(row['leases']) or 'none'}"
        typer.echo(f"{row['id']}: {row['gpus']:,} {row['gpu']} of {row['lender']}, {leased}")
    if not rows:
        typer.echo("No pool yet. See: townsquare fleet pool add --help")


@lease_app.command("add")
@with_options(LeaseConfig)
def lease_add(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Record the terms on which GPUs of a pool are lent.

    Examples: townsquare fleet lease add --id north-nights --pool north --gpus 1024 --starts 2026-12-01
    --ends 2027-02-28 --window "Mon-Fri 20:00-08:00" --window "Sat-Sun 00:00-24:00" --recall-notice-hours 48
    --price-usd-per-gpu-hour 1.90 --budget-usd 500000 --purpose train

    townsquare fleet lease add --file fleet.toml
    """
    from townsquare.fleet import pools

    place = Square.open(square)
    added = pools.leases_of(make_config(LeaseConfig, settings))
    for lease in added:
        pools.add(place, lease)
    if as_json:
        echo_json([dataclasses.asdict(lease) for lease in added])
        return
    for lease in added:
        typer.echo(f"Recorded lease {lease.id}: {lease.gpus:,} of pool {lease.pool}, {lease.starts} to {lease.ends}.")


@lease_app.command("list")
def lease_list(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show every lease, the runs that hold GPUs of it, and what is left of its budgets.

    Example: townsquare fleet lease list
    """
    import datetime as dt

    from townsquare.fleet.book import read_book

    book, at = read_book(Square.open(square)), dt.datetime.now(dt.UTC)
    rows = []
    for lease in book.leases.values():
        left = {f"left_{unit}": value for unit, value in book.budget_left(lease, at).items()}
        runs = [held.run for held in book.allocations.values() if held.lease == lease.id]
        rows.append(dataclasses.asdict(lease) | left | {"runs": runs})
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        budgets = ((row["left_gpu_hours"], "GPU-hours"), (row["left_usd"], "USD"))
        said = [f"{value:,.6g} {unit} left" for value, unit in budgets if value is not None]
        said += [f"recalled for {row['recalled_at']}"] if row["recalled_at"] else []
        said += [f"at work: {', '.join(row['runs'])}"] if row["runs"] else []
        typer.echo(f"{row['id']}: {row['gpus']:,} of pool {row['pool']}, {row['starts']} to {row['ends']}" +
                   "".join(f"; {part}" for part in said))  # fmt: skip
    if not rows:
        typer.echo("No lease yet. See: townsquare fleet lease add --help")


@lease_app.command("ask")
@with_options(AskConfig)
def lease_ask(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Ask for GPUs for a run: it gets an allocation, or the reason of every lease that does not fit.

    `townsquare train --lease ID` asks by itself; `--lease any` takes the best that fits.

    Example: townsquare fleet lease ask --run base --gpus 8 --gpu-hours 500
    """
    from townsquare.fleet.leases import ask

    allocation = ask(Square.open(square), make_config(AskConfig, settings))
    if as_json:
        echo_json(dataclasses.asdict(allocation))
        return
    hours = "" if allocation.seconds_left is None else f", {allocation.seconds_left / 3600:,.6g} GPU-hours"
    typer.echo(
        f"{allocation.run} has {allocation.gpus:,} {allocation.gpu} of the lease {allocation.lease}{hours}, "
        f"until {allocation.stops_at}: then {allocation.stops_because}."
    )


@lease_app.command("release")
def lease_release(
    run: Annotated[str, typer.Option("--run", help="The run that no longer needs its GPUs.")],
    square: SquareOption = HERE,
) -> None:
    """Give back what a run was allocated, such as after it was killed.

    Example: townsquare fleet lease release --run base
    """
    from townsquare.fleet.leases import release

    held = release(Square.open(square), run)
    typer.echo(f"{run} gave back {held.gpus:,} {held.gpu} of {held.lease}." if held else f"{run} held nothing.")


@lease_app.command("recall")
def lease_recall(lease: LeaseArgument, square: SquareOption = HERE) -> None:
    """The lender wants the GPUs back: runs on them stop at a checkpoint within the notice that was agreed.

    Example: townsquare fleet lease recall north-nights
    """
    from townsquare.fleet.leases import recall

    recalled = recall(Square.open(square), lease)
    typer.echo(f"The lease {lease} ends at {recalled.recalled_at}. Runs on it stop before, at a checkpoint.")


@lease_app.command("amend")
def lease_amend(
    lease: LeaseArgument,
    square: SquareOption = HERE,
    budget_gpu_hours: Annotated[float | None, typer.Option(help="The new budget in GPU-hours, in all.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="The new budget in dollars, in all.")] = None,
) -> None:
    """Give a lease another budget. A run at work on it heeds it at its next step.

    Example: townsquare fleet lease amend north-nights --budget-usd 750000
    """
    from townsquare.fleet.leases import amend

    amend(Square.open(square), lease, budget_gpu_hours=budget_gpu_hours, budget_usd=budget_usd)
    typer.echo(f"Amended {lease}.")


@with_options(StatementConfig)
def statement(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Write each lender's statement: reserved, used, lost and idle hours, value, budget left; as JSON, CSV and a page.

    The hours used are held against the runs' step logs, and the difference is printed.

    Example: townsquare fleet statement --lender "North Works" --starts 2026-12-01 --ends 2026-12-31
    """
    from townsquare.fleet.statements import write_statements
    from townsquare.show import show_results

    place, console = Square.open(square), Console()
    made = write_statements(place, make_config(StatementConfig, settings))
    if as_json:
        echo_json(made)
        return
    for one in made:
        show_results(f"{one['lender']}, {one['starts']} to {one['ends']}", one["totals"], console)
        for row in one["reconciliation"]:
            log, off = row["step_log_seconds"], row["difference_seconds"]
            held = "its step log is gone" if log is None else f"step log {log:,.3f} s, difference {off:,.3f} s"
            typer.echo(f"  run {row['run']} {row['fingerprint']}: ledger {row['ledger_seconds']:,.3f} s, {held}")
        for name in one["files"]:
            typer.echo(place.statements / name)
    if not made:
        typer.echo("Nobody lends GPUs here yet. See: townsquare fleet pool add --help")
