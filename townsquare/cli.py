"""The command line: one sub-command a stage. Each parses, calls the stage's run() and prints its receipt."""

from __future__ import annotations

import getpass
import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from townsquare.cli_assistant import ask, chat, keys_app, reply, serve
from townsquare.cli_audit import audit_app
from townsquare.cli_consent import consent_app
from townsquare.cli_fleet import lease_app, pool_app, statement
from townsquare.cli_fleet_launch import cancel, launch, launches
from townsquare.cli_fleet_plan import goodput, plan
from townsquare.cli_records import (
    HERE,
    JsonOption,
    ReplaceOption,
    SquareOption,
    echo_json,
    finish,
    grant_app,
    ledger_app,
)
from townsquare.cli_runs import runs_app
from townsquare.cli_takedown import lookup, takedown_app
from townsquare.curate.config import CurateConfig
from townsquare.errors import TownsquareError
from townsquare.evaluate.config import CompareConfig, EvaluateConfig
from townsquare.export.config import ExportConfig
from townsquare.fleet.config import EstimateConfig, ValidateConfig
from townsquare.ingest.config import IngestConfig
from townsquare.options import with_options
from townsquare.report.config import ReportConfig
from townsquare.serve.config import IndexConfig
from townsquare.square import Square, make_config
from townsquare.tokens.config import TokensConfig
from townsquare.town.config import TownConfig
from townsquare.train.config import TrainConfig

STOPPED_BY_HAND = 130


FLOW = (
    "init", "grant", "consent", "town", "ingest", "takedown", "lookup", "curate", "tokens", "train", "runs", "export",
    "index", "evaluate", "compare", "ask", "chat", "reply", "serve", "keys", "fleet", "ledger", "audit", "report",
    "status", "demo",
)  # fmt: skip


class Flow(TyperGroup):
    """Commands in the order in which data flows; a person's mistake ends in a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=FLOW.index)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TownsquareError as error:
            console = Console(stderr=True, highlight=False)
            console.print(f"[bold red]{type(error).__name__}[/] ", end="")
            console.print(str(error), markup=False)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            typer.echo("Stopped. What was finished is kept: run the same command again to go on.", err=True)
            ctx.exit(STOPPED_BY_HAND)


app = typer.Typer(
    name="townsquare",
    cls=Flow,
    help="From a social network's posts to a chat assistant that its owner can account for.\n\n"
    "A square is a folder. Go through the commands from top to bottom: posts come in under a grant, "
    "are curated, trained on, and answered from with citations; a takedown reaches every copy.\n\n"
    "Start with: townsquare demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
fleet_app = typer.Typer(
    no_args_is_help=True, help="What a training run takes on borrowed GPUs, who lends them, and who is owed."
)


def add_stage(name: str, config: type, module: str, text: str) -> None:
    """One command for a stage: options from its config, then its run(), then its receipt."""

    @with_options(config)
    def command(
        square: SquareOption = HERE, replace: ReplaceOption = False, as_json: JsonOption = False, *, settings: Any
    ) -> None:
        place = Square.open(square, replace=replace)
        finish(place, importlib.import_module(module).run(place, place.config(name, config, **settings)), as_json)

    app.command(name, help=text)(command)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="The folder to make into a square.")]) -> None:
    """Make a square: a folder with a townsquare.toml.

    Example: townsquare init my-square
    """
    square = Square.create(folder)
    typer.echo(f"{square.root} is a square. Next: cd {folder} && townsquare grant add --help")


add_stage(
    "town",
    TownConfig,
    "townsquare.town.run",
    "Make a synthetic community with known truth, as files in real source formats.\n\n"
    "Example: townsquare town --posts 20000",
)
app.add_typer(grant_app, name="grant")
app.add_typer(consent_app, name="consent")


@app.command()
@with_options(IngestConfig, leave_out=("paths",))
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders: archives, API files, CSV, JSONL, Parquet.")],
    square: SquareOption = HERE,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Read posts and events into the square. What is neither is quarantined with a reason.

    Examples: townsquare ingest twitter-2026.zip

    townsquare ingest senators.tar.gz --column text=Text --column created_at=Datetime --author-from file
    """
    from townsquare.ingest.run import run

    place = Square.open(square, replace=replace)
    finish(place, run(place, place.config("ingest", IngestConfig, paths=tuple(paths), **settings)), as_json)


app.add_typer(takedown_app, name="takedown")
app.command("lookup")(lookup)


@app.command()
@with_options(CurateConfig)
def curate(
    square: SquareOption = HERE,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
    review: Annotated[bool, typer.Option("--review", help="Show what was left out on a local page instead.")] = False,
    port: Annotated[int, typer.Option(help="Port of that page; 0 takes a free one.")] = 8001,
    by: Annotated[str | None, typer.Option(help="Who overrules on it; by default your login name.")] = None,
    *,
    settings: Any,
) -> None:
    """Make the corpus: documents, conversations and preference pairs, with a reason for every post left out.

    Examples: townsquare curate --languages en

    townsquare curate --decontaminate gsm8k_test.jsonl

    townsquare curate --review
    """
    place = Square.open(square, replace=replace)
    if review:
        importlib.import_module("townsquare.review.server").review(place, port, by or getpass.getuser())
        return
    config = place.config("curate", CurateConfig, **settings)
    finish(place, importlib.import_module("townsquare.curate.run").run(place, config), as_json)


add_stage(
    "tokens",
    TokensConfig,
    "townsquare.tokens.run",
    "Train the vocabulary, or take a base model's, and write the corpus as shards of token ids.\n\n"
    "Examples: townsquare tokens --vocabulary-size 8192\n\ntownsquare tokens --base SmolLM2-135M-Instruct.gguf",
)


@app.command()
@with_options(TrainConfig)
def train(
    square: SquareOption = HERE,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
    lease: Annotated[str | None, typer.Option(help="The lease whose GPUs it uses, or `any` that fits.")] = None,
    *,
    settings: Any,
) -> None:
    """Train a model from scratch, or go on from a run or a base. Stopped at any moment, it resumes exactly.

    Examples: townsquare train --name base --size 6M

    townsquare train --name liked --objective prefer --start-from chat --adapter-rank 16

    townsquare train --name chat --objective tune --start-from base

    townsquare train --name chat --objective tune --base path/to/huggingface-folder

    townsquare train --name base --lease north-nights

    torchrun --nproc-per-node 8 -m townsquare.cli train --layout shard=4,tensor=2
    """
    from townsquare.fleet.leases import asked_by, on_lease

    with importlib.import_module("townsquare.train.processes").together():
        place = Square.open(square, replace=replace)
        config = place.config("train", TrainConfig, **settings)
        with on_lease(place, asked_by(config.name, config.objective, lease)):
            receipt = importlib.import_module("townsquare.train.run").run(place, config)
    finish(place, receipt, as_json)


app.add_typer(runs_app, name="runs")
add_stage(
    "export",
    ExportConfig,
    "townsquare.export.run",
    "Write a run's model as a Hugging Face folder and a GGUF file, with its card.\n\n"
    "Example: townsquare export --run chat",
)
add_stage(
    "index",
    IndexConfig,
    "townsquare.serve.run",
    "Index the posts that may be retrieved.\n\nExample: townsquare index",
)


@app.command()
@with_options(EvaluateConfig, leave_out=("model",))
def evaluate(
    model: Annotated[str | None, typer.Argument(help="An exported model's name [chat], or a GGUF file.")] = None,
    square: SquareOption = HERE,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Score a model: bits per byte, memorisation, what it should not say; in a town, answers against the truth.

    Examples: townsquare evaluate chat --questions 500

    townsquare evaluate chat --tasks arc_easy --tasks gsm8k --task-data DIR
    """
    from townsquare.evaluate.run import run

    place = Square.open(square, replace=replace)
    finish(place, run(place, place.config("evaluate", EvaluateConfig, model=model, **settings)), as_json)


@app.command()
@with_options(CompareConfig, leave_out=("model", "other"))
def compare(
    model: Annotated[str, typer.Argument(help="An evaluated model.")],
    other: Annotated[str, typer.Argument(help="The evaluated model that it is held against.")],
    square: SquareOption = HERE,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Set two evaluated models side by side, case by case: differences with intervals, and whether they are chance.

    Example: townsquare compare chat base
    """
    from townsquare.evaluate.compare import run

    place = Square.open(square, replace=replace)
    finish(place, run(place, make_config(CompareConfig, {"model": model, "other": other, **settings})), as_json)


for assisting in (ask, chat, reply, serve):
    app.command()(assisting)
app.add_typer(keys_app, name="keys")


app.add_typer(fleet_app, name="fleet")
fleet_app.add_typer(pool_app, name="pool")
fleet_app.add_typer(lease_app, name="lease")
for launching in (launch, launches, cancel):
    fleet_app.command()(launching)
fleet_app.command("statement")(statement)
fleet_app.command("plan")(plan)
fleet_app.command("goodput")(goodput)


@fleet_app.command("estimate")
@with_options(EstimateConfig)
def fleet_estimate(
    square: SquareOption = HERE, replace: ReplaceOption = False, as_json: JsonOption = False, *, settings: Any
) -> None:
    """Estimate memory, time, GPU-hours and cost of a training run on a fleet. Needs no GPU.

    Example: townsquare fleet estimate --gpus 10000
    """
    from townsquare.fleet.run import run

    place = Square.open(square, replace=replace)
    finish(place, run(place, place.config("fleet", EstimateConfig, **settings)), as_json)


@fleet_app.command("validate")
@with_options(ValidateConfig)
def fleet_validate(as_json: JsonOption = False, *, settings: Any) -> None:
    """Hold the estimate to published runs (a CSV of them), and print its errors.

    Example: townsquare fleet validate --runs runs_mfu.csv --memory memory.csv --plot errors.png
    """
    from townsquare.fleet.validate import validate
    from townsquare.show import show_validation

    results = validate(make_config(ValidateConfig, settings))
    if as_json:
        echo_json(results)
    else:
        show_validation(results, Console())


app.add_typer(ledger_app, name="ledger")
app.add_typer(audit_app, name="audit")


@app.command()
@with_options(ReportConfig)
def report(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Write report.html, one self-contained page: funnel, curves, scores, proof, estimate, receipts.

    Example: townsquare report
    """
    from townsquare.report.run import run

    place = Square.open(square, replace=True)
    finish(place, run(place, make_config(ReportConfig, settings)), as_json)


@app.command()
def status(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show where the square stands: what has run, what is stale, and what to run next.

    Example: townsquare status
    """
    from townsquare import show
    from townsquare import status as standing

    place = Square.open(square)
    if as_json:
        echo_json(standing.to_json(place))
    else:
        show.show_status(place, Console())


@app.command()
def demo(
    square: Annotated[Path, typer.Option("--square", "-s", help="Where to make the demo's square.")] = Path(
        "demo-square"
    ),
) -> None:
    """The whole story in a few minutes: a synthetic town in, an assistant that cites out, an author taken down.

    Run again, it skips what is done; stopped, it goes on.
    """
    from townsquare.demo import demo as run

    run(square, Console())


def main() -> None:
    """The `townsquare` command."""
    app()


if __name__ == "__main__":
    main()
