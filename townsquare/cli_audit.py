"""Commands for whoever asks: which weights saw a post, and the signed bundle of an audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from townsquare.audit.config import AuditConfig
from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json, finish, ledger_app
from townsquare.options import with_options
from townsquare.square import Square, make_config

audit_app = typer.Typer(no_args_is_help=True, help="What a lawyer, a lender or an authority asks for.")


@ledger_app.command("who-saw")
def who_saw(
    uid: Annotated[str, typer.Argument(help="A post's uid, such as x:1626922779105759235.")],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Name the runs, checkpoints and models whose weights have seen a post.

    Example: townsquare ledger who-saw x:1626922779105759235
    """
    from townsquare.audit.saw import who_saw as look

    found = look(Square.open(square), uid)
    if as_json:
        echo_json(found)
        return
    for one in found:
        through = "" if one["from_run"] == one["run"] else f", which started from {one['from_run']}"
        kept = ", ".join(f"{one['run']}@{step}" for step in one["checkpoints"]) or "no checkpoint of it is left"
        models = f"; models: {', '.join(one['models'])}" if one["models"] else ""
        typer.echo(f"{one['run']}{through}: read in step {one['first_step']:,} of {one['from_run']}; {kept}{models}")
    if not found:
        typer.echo(f"No run's weights have seen {uid}.")


@ledger_app.command("what-saw")
def what_saw(
    checkpoint: Annotated[str, typer.Argument(help="RUN, RUN@STEP, a model's name, or a checkpoint's folder.")],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Count the posts that a checkpoint has seen, by source and by their state now; --json lists them by uid.

    Example: townsquare ledger what-saw base@1200
    """
    from townsquare.audit.saw import what_saw as look
    from townsquare.show import show_results

    found = look(Square.open(square), checkpoint)
    if as_json:
        echo_json(found)
        return
    del found["uids"]
    show_results(f"what {checkpoint} saw", found, Console())


@audit_app.command("export")
@with_options(AuditConfig)
def audit_export(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Write the audit: fourteen items as one signed bundle without any post's words, and a page to read.

    Example: townsquare audit export --recipient "Platform Ltd" --operator "data protection officer"
    """
    from townsquare.audit.run import run

    place = Square.open(square)
    finish(place, run(place, make_config(AuditConfig, settings)), as_json)


@audit_app.command("verify")
def audit_verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle (ZIP) that was handed over.")],
    key: Annotated[
        str | None, typer.Option(help="The signer's public key (hex), as they gave it by another way.")
    ] = None,
) -> None:
    """Check a bundle without the square: its signature, every file in it, and the ledger's chain.

    Example: townsquare audit verify audit.zip --key 9f1c…
    """
    from townsquare.audit.bundle import verify

    told = verify(bundle, key)
    typer.echo(f"The bundle is whole: {told['files']} files, {told['ledger_rows']} ledger rows, head {told['head']}.")
    typer.echo(f"Signed by the key {told['public_key']}.")
    if key is None:
        typer.echo("That this key is the owner's is for you to check: ask them for it and pass it as --key.")
