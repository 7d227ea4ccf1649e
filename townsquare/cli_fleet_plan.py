"""Commands about what training takes on a fleet, and what of its time is useful."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console

from townsquare.cli_records import JsonOption, echo_json
from townsquare.fleet.config import GoodputConfig
from townsquare.options import with_options
from townsquare.square import make_config


@with_options(GoodputConfig)
def goodput(as_json: JsonOption = False, *, settings: Any) -> None:
    """Simulate what of a fleet's time trains: failures, checkpoints, restarts, spares and recalls, event by event.

    Examples: townsquare fleet goodput --gpus 16384 --days 54 --size 405B --storage-gb-s 2000

    townsquare fleet goodput --gpus 10000 --recalls-per-30-days 4 --recall-hours 12 --spare-nodes 20
    """
    from townsquare.fleet.goodput import goodput as answer
    from townsquare.show import show_results

    results = answer(make_config(GoodputConfig, settings))
    if as_json:
        echo_json(results)
        return
    sentences = results.pop("published_figures_that_disagree")
    show_results("fleet goodput", results, Console())
    typer.echo("Published figures that disagree with one another:")
    for sentence in sentences:
        typer.echo(f"  {sentence}")
