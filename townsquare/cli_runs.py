"""Commands about training runs: what there are, how they differ, how they went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json
from townsquare.square import Square

runs_app = typer.Typer(no_args_is_help=True, help="Training runs: list, compare and plot them.")


@runs_app.command("list")
def list_runs(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """List every run, those still at work too: steps, loss, bits per byte, speed, hours.

    Example: townsquare runs list
    """
    from townsquare.report.runs import listed
    from townsquare.show import show_runs

    found = listed(Square.open(square))
    if as_json:
        echo_json(found)
    else:
        show_runs(found, Console())


@runs_app.command()
def compare(
    names: Annotated[list[str], typer.Argument(help="Two runs or more.")],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Set runs beside one another: the settings and figures in which they differ.

    Example: townsquare runs compare base chat
    """
    from townsquare.report.runs import compared
    from townsquare.show import show_compared

    found = compared(Square.open(square), names)
    if as_json:
        echo_json(found)
    else:
        show_compared(names, found, Console())


@runs_app.command()
def plot(
    names: Annotated[list[str], typer.Argument(help="The runs to draw.")],
    output: Annotated[Path, typer.Option(help="The file to write; its ending says which kind.")] = Path("runs.svg"),
    square: SquareOption = HERE,
) -> None:
    """Draw the runs' loss over the tokens they learned from, in one picture.

    Example: townsquare runs plot base wider --output loss.svg
    """
    from townsquare.report.runs import plot as draw

    draw(Square.open(square), names, output)
    typer.echo(f"Drawn: {output}")
