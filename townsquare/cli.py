"""The command line: one sub-command a stage. Each parses, calls the stage's run() and prints its receipt."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from townsquare.curate.config import CurateConfig
from townsquare.errors import TownsquareError
from townsquare.evaluate.config import EvaluateConfig
from townsquare.export.config import ExportConfig
from townsquare.fleet.config import EstimateConfig, ValidateConfig
from townsquare.ingest.config import IngestConfig
from townsquare.options import with_options
from townsquare.receipts import Receipt
from townsquare.report.config import ReportConfig
from townsquare.serve.config import IndexConfig, ServeConfig
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.tokens.config import TokensConfig
from townsquare.town.config import TownConfig
from townsquare.train.config import TrainConfig

app = typer.Typer(
    name="townsquare",
    help="From a social network's posts to a chat assistant that its owner can account for.\n\n"
    "A square is a folder. Go through the commands from top to bottom: posts come in under a grant, "
    "are curated, trained on, and answered from with citations; a takedown reaches every copy.\n\n"
    "Start with: townsquare demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
grant_app = typer.Typer(no_args_is_help=True, help="Say who allows which posts, for what, until when.")
fleet_app = typer.Typer(no_args_is_help=True, help="What a training run takes on borrowed GPUs.")
ledger_app = typer.Typer(no_args_is_help=True, help="Read and check the hash-chained record.")

SquareOption = Annotated[Path, typer.Option("--square", "-s", envvar="TOWNSQUARE_SQUARE", help="The square's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Make it anew though inputs or settings changed since.")]
HERE = Path()


def finish(receipt: Receipt, as_json: bool) -> None:
    """Print a receipt, for a person or for a program."""
    if as_json:
        typer.echo(json.dumps(receipt.to_json(), indent=2, ensure_ascii=False))
    else:
        from townsquare.show import show_receipt

        show_receipt(receipt, Console())


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="The folder to make into a square.")]) -> None:
    """Make a square: a folder with a townsquare.toml.

    Example: townsquare init my-square
    """
    square = Square.create(folder)
    typer.echo(f"{square.root} is a square. Next: cd {folder} && townsquare grant add --help")


@app.command()
@with_options(TownConfig)
def town(
    square: SquareOption = HERE, replace: ReplaceOption = False, as_json: JsonOption = False, *, settings: Any
) -> None:
    """Make a synthetic community with known truth, as files in real source formats.

    Example: townsquare town --posts 20000
    """
    from townsquare.town.run import run

    place = Square.open(square)
    finish(run(place, place.config("town", TownConfig, **settings), replace=replace), as_json)


app.add_typer(grant_app, name="grant")
