"""Commands about the record: grants and the ledger; and the options that every command shares."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from townsquare import ranks
from townsquare.consent.config import GrantConfig
from townsquare.options import with_options
from townsquare.receipts import Receipt
from townsquare.square import Square, make_config

grant_app = typer.Typer(no_args_is_help=True, help="Say who allows which posts, for what, until when.")
ledger_app = typer.Typer(no_args_is_help=True, help="Read and check the hash-chained record.")

SquareOption = Annotated[Path, typer.Option("--square", "-s", envvar="TOWNSQUARE_SQUARE", help="The square's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Make it anew though inputs or settings changed since.")]
HERE = Path()


def echo_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def finish(square: Square, receipt: Receipt, as_json: bool) -> None:
    """Record a receipt in the ledger and print it, for a person or a program; of many processes one does."""
    if not ranks.leads():
        return
    from townsquare.ledger import Ledger
    from townsquare.show import show_receipt

    with Ledger.open(square) as ledger:
        ledger.catch_up(square)
    if as_json:
        echo_json(receipt.to_json())
    else:
        show_receipt(receipt, Console())


@grant_app.command("add")
@with_options(GrantConfig)
def grant_add(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Record a grant in the ledger. Without one, nothing is trained on, retrieved or shown.

    Examples: townsquare grant add --grantor "Town Forum" --grantee "Town AI" --source '*' --purpose train

    townsquare grant add --file grants.toml
    """
    from townsquare.consent import grants

    wanted = grants.from_config(make_config(GrantConfig, settings))
    added = [grants.add_grant(Square.open(square), grant) for grant in wanted]
    if as_json:
        echo_json([dataclasses.asdict(grant) for grant in added])
        return
    for grant in added:
        typer.echo(f"Recorded grant {grant.id}: {grant.grantor} allows {grant.grantee} to {', '.join(grant.purposes)}.")
        for warning in grants.warnings_for(grant):
            typer.echo(f"Know: {warning}")


@grant_app.command("list")
def grant_list(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show every grant, revoked ones too.

    Example: townsquare grant list
    """
    from townsquare.consent import grants
    from townsquare.show import show_grants

    found = grants.read_grants(Square.open(square))
    if as_json:
        echo_json([dataclasses.asdict(grant) for grant in found])
    else:
        show_grants(found, Console())


@grant_app.command("revoke")
def grant_revoke(
    grant_id: Annotated[str, typer.Argument(help="The grant's id, as `grant list` shows it.")],
    square: SquareOption = HERE,
) -> None:
    """Revoke a grant from now on: what it alone allowed leaves the index and every future build.

    Example: townsquare grant revoke town-forum
    """
    from townsquare.consent.grants import revoke_grant

    revoke_grant(Square.open(square), grant_id)
    typer.echo(f"Revoked {grant_id}. Answers refuse its posts at once; run curate, tokens and index again.")


@ledger_app.command("list")
def ledger_list(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show the ledger's rows, oldest first.

    Example: townsquare ledger list
    """
    from townsquare.ledger import Ledger
    from townsquare.show import show_entries

    place = Square.open(square)
    with Ledger.open(place) as ledger:
        ledger.catch_up(place)
        entries = ledger.entries()
    if as_json:
        echo_json([dataclasses.asdict(entry) for entry in entries])
    else:
        show_entries(entries, Console())


@ledger_app.command("verify")
def ledger_verify(
    square: SquareOption = HERE,
    head: Annotated[
        str | None, typer.Option(help="A head kept elsewhere; it must be the hash of one of the rows.")
    ] = None,
) -> None:
    """Recompute the hash chain. Fails, naming the row, if any was altered, moved or removed.

    Keep the head that it prints somewhere else: given back as --head, it shows that no end was cut off.

    Example: townsquare ledger verify
    """
    from townsquare.ledger import Ledger

    with Ledger.open(Square.open(square)) as ledger:
        last = ledger.verify(head)
    typer.echo(f"The chain holds: {last.seq} rows, head {last.hash}" if last else "The ledger is empty.")
