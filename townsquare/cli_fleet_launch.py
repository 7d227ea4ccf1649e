"""Commands that launch a stage on lent machines, show what was launched, and cancel it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json
from townsquare.fleet.config import LaunchConfig
from townsquare.options import with_options
from townsquare.square import Square, make_config

STAGE = typer.Argument(metavar="-- STAGE OPTIONS", help="After --, the stage as it is typed without a launcher.")


@with_options(LaunchConfig)
def launch(
    words: Annotated[list[str], STAGE],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Run `train`, or `curate --runner ray`, on any machines: here, with torchrun, on Slurm, through SkyPilot.

    With a lease it runs where the lent pool is. Killed, preempted or recalled, it goes on from its last checkpoint, on
    another pool where that one is over.

    Examples: townsquare fleet launch --lease any --gpus 16 -- train --name base --size 1B

    townsquare fleet launch --on here --gpus 2 -- train --name base

    townsquare fleet launch --on torchrun --at gpu1 --at gpu2 --gpus 16 --ssh -- train --name base

    townsquare fleet launch --on slurm --at gpu --gpus 64 --gpus-per-host 8 --hours 24 -- train --name base

    townsquare fleet launch --on skypilot --at k8s --gpu H100 --gpus 8 --store squares -- train --name base

    townsquare fleet launch --on slurm --at cpu --gpu CPU --gpus 4 --gpus-per-host 1 -- curate --runner ray
    """
    from townsquare.fleet import launch as launching

    place = Square.open(square)
    done = launching.launch(place, make_config(LaunchConfig, settings), words)
    if as_json:
        echo_json(done.to_json())
    elif not done.config.dry_run:
        typer.echo(f"{done.run}: {done.state} on {done.on}{_where(done.job, done.why)}")
    raise typer.Exit(int(done.state == "failed"))


def launches(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show every launch: its state, its place, the step of its last checkpoint, and what its launcher says.

    Example: townsquare fleet launches
    """
    from townsquare.fleet import launch as launching

    rows = launching.standing(Square.open(square))
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        place = " ".join((row["on"], *row["at"]))
        said = f"; it says {row['launcher_says']}" if row["launcher_says"] else ""
        typer.echo(
            f"{row['run']}: {row['state']} on {place}, step {row['steps']:,}{_where(row['job'], row['why'])}{said}"
        )
    if not rows:
        typer.echo("Nothing was launched yet. See: townsquare fleet launch --help")


def cancel(
    run: Annotated[str, typer.Argument(help="The run, as `fleet launches` shows it.")], square: SquareOption = HERE
) -> None:
    """Stop a launch at a checkpoint and take it out of every queue.

    Example: townsquare fleet cancel base
    """
    from townsquare.fleet import launch as launching

    launching.cancel(Square.open(square), run)
    typer.echo(f"{run} is cancelled. The same launch again goes on from its last checkpoint.")


def _where(job: str | None, why: str | None) -> str:
    return (f", job {job}" if job else "") + (f"; {why}" if why else "")
