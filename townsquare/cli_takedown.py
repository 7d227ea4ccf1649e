"""Commands about removal: takedown, its proof, and lookup."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json, finish
from townsquare.options import with_options
from townsquare.square import Square, make_config
from townsquare.takedown.config import TakedownConfig

takedown_app = typer.Typer()


@takedown_app.callback(invoke_without_command=True)
@with_options(TakedownConfig)
def takedown(
    context: typer.Context, square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any
) -> None:
    """Take posts or authors out of every copy, scan every copy, and record the proof.

    Without targets, the events that ingest brought are applied. It is not unlearning: models that
    learned from a post keep traces until they are trained anew, and are named.

    Examples: townsquare takedown --author @someone

    townsquare takedown --post x:1626922779105759235

    townsquare takedown prove
    """
    from townsquare.takedown.run import run

    if context.invoked_subcommand is None:
        place = Square.open(square)
        finish(place, run(place, make_config(TakedownConfig, settings)), as_json)


@takedown_app.command("prove")
def takedown_prove(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Open every store and search it for every post ever removed, by id and by what it said; record the outcome.

    Fails, naming the place, if any is found.

    Example: townsquare takedown prove
    """
    from townsquare.show import show_results
    from townsquare.takedown.proof import prove

    record = prove(Square.open(square))
    if as_json:
        echo_json(record)
    else:
        show_results("takedown prove", record, Console())


def lookup(
    name: Annotated[str, typer.Argument(help="A post's uid, an author as NETWORK:ID, or a @handle.")],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Am I in it? Where a post or an author's posts stand: states, copies, runs and models that saw them.

    Examples: townsquare lookup @someone

    townsquare lookup x:1626922779105759235 --json
    """
    from townsquare.show import show_results
    from townsquare.takedown.lookup import lookup as look

    record = look(Square.open(square), name)
    if as_json:
        echo_json(record)
    else:
        show_results("lookup", record, Console())
