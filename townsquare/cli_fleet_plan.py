"""Commands about what training takes on a fleet, and what of its time is useful."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json
from townsquare.fleet.config import GoodputConfig, PlanConfig
from townsquare.options import with_options
from townsquare.square import Square, make_config


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


@with_options(PlanConfig)
def plan(square: SquareOption = HERE, as_json: JsonOption = False, *, settings: Any) -> None:
    """Find GPUs, how many and in which layout, for least time or least cost; say why, and what limits it.

    What can these train in 90 days? townsquare fleet plan --gpu "H100 SXM" --gpus 10000 --days 90

    What must be borrowed? townsquare fleet plan --size 70B --tokens 15T --by 2027-06-30

    Two lenders' pools: townsquare fleet plan --size 70B --pool "A100 SXM 80GB=2048@1.20" --pool "H100 NVL=4096"

    Example: townsquare fleet plan --leases --size 7B --calibrate base
    """
    from townsquare.fleet.plan import plan as answer
    from townsquare.show import show_plan

    config = make_config(PlanConfig, settings)
    found = answer(config, Square.open(square) if config.leases or config.calibrate else None)
    if as_json:
        echo_json(found)
    else:
        show_plan(found, Console())
