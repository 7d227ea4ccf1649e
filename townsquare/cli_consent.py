"""Commands about consent: exclusions, and why a post may be used or may not."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import typer

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json
from townsquare.consent.config import ExclusionConfig
from townsquare.options import with_options
from townsquare.square import Square, make_config

consent_app = typer.Typer(no_args_is_help=True, help="Keep posts out whatever a grant allows; ask why one is out.")


@consent_app.command("exclude")
@with_options(ExclusionConfig)
def exclude(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Record an exclusion in the ledger. Answers heed it at once, every later build too.

    Examples: townsquare consent exclude --author x:2244994945 --reason "letter of 3 May"

    townsquare consent exclude --region EU --authors-by-region where.csv --starts 2024-05-07 --ends 2024-08-01
    --purpose train --reason "undertaking of 8 August 2024"
    """
    from townsquare.consent import exclusions

    place = Square.open(square)
    added = [
        exclusions.add_exclusion(place, one)
        for one in exclusions.from_config(place, make_config(ExclusionConfig, settings))
    ]
    if as_json:
        echo_json([dataclasses.asdict(exclusion) for exclusion in added])
        return
    for exclusion in added:
        typer.echo(f"Recorded exclusion {exclusion.id}. Run curate, tokens and index again.")


@consent_app.command("lift")
def lift(
    exclusion_id: Annotated[str, typer.Argument(help="The exclusion's id, as `consent list` shows it.")],
    square: SquareOption = HERE,
) -> None:
    """Lift an exclusion from now on.

    Example: townsquare consent lift eu-2024
    """
    from townsquare.consent.exclusions import lift_exclusion

    lift_exclusion(Square.open(square), exclusion_id)
    typer.echo(f"Lifted {exclusion_id}. Run curate, tokens and index again.")


@consent_app.command("list")
def list_exclusions(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show every exclusion, lifted ones too.

    Example: townsquare consent list
    """
    from townsquare.consent.exclusions import read_exclusions

    found = read_exclusions(Square.open(square))
    if as_json:
        echo_json([dataclasses.asdict(exclusion) for exclusion in found])
        return
    for one in found:
        days = f", posts {one.starts or 'from the first'} to {one.ends or 'the last'}" if one.starts or one.ends else ""
        whom = ", ".join([*one.regions, *one.authors]) or "everybody"
        lifted = " (lifted)" if one.lifted else ""
        typer.echo(f"{one.id}{lifted}: {whom}{days}, out of {', '.join(one.purposes)}: {one.reason}")
    if not found:
        typer.echo("There are no exclusions.")


@consent_app.command("why")
def why(
    uid: Annotated[str, typer.Argument(help="A post's uid, such as x:1626922779105759235.")],
    purpose: Annotated[
        Literal["train", "tune", "retrieve", "display"], typer.Option("--for", help="The use that is asked about.")
    ],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Say of each rule of the gate whether it refuses the post, by which grant or event, and what would change it.

    Example: townsquare consent why x:1626922779105759235 --for train
    """
    from townsquare.consent.gate import today
    from townsquare.ingest.why import ask

    spoken = ask(Square.open(square), uid, purpose, today())
    if as_json:
        echo_json([dataclasses.asdict(one) for one in spoken])
        return
    refused = [one for one in spoken if one.refuses]
    typer.echo(f"{uid} may {'not ' if refused else ''}be used to {purpose}.")
    for one in spoken:
        typer.echo(f"{'refuses' if one.refuses else 'allows '}  {one.rule}: {one.says}")
        if one.change:
            typer.echo(f"         To change it: {one.change}")
