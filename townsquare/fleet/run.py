"""The fleet stage: what training takes on lent GPUs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from townsquare import receipts
from townsquare.dial import parameters_of
from townsquare.fleet.config import EstimateConfig
from townsquare.fleet.estimate import Job
from townsquare.fleet.hardware import Gpu, gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.search import by_dial, by_file, fastest, largest
from townsquare.fleet.shape import from_model
from townsquare.model.config import ModelConfig
from townsquare.receipts import Receipt
from townsquare.square import Square

VOCABULARY_SIZE = 65_536  # for a square without a vocabulary
ASSUMED = "no interruptions; the range holds four of five runs of a site that the constants have not seen"


def run(square: Square, config: EstimateConfig) -> Receipt:
    """Estimate, and compare with the square's own run. Another question replaces the earlier answer.

    Raises ConfigError for an unknown GPU kind, or a model that fits in no layout.
    """
    kind = gpu(config.gpu)
    own = receipts.read(square, "train", config.run) if config.run else None
    tokens, curated = receipts.read(square, "tokens"), receipts.read(square, "curate")
    inputs = [receipts.as_input(receipt) for receipt in (own, tokens, curated) if receipt is not None]
    with receipts.stage(dataclasses.replace(square, replace=True), "fleet", inputs=inputs, config=config) as work:
        if work.done:
            return work.done
        vocabulary = tokens.results["vocabulary_size"] if tokens else VOCABULARY_SIZE
        answer = _answer(config, kind, vocabulary)
        work.results.update(answer)
        if own is not None:
            work.results["own_run"] = _own_run(square, own, config, kind)
        work.results["posts"] = _posts(tokens, curated, answer["model"]["tokens"])
    return work.receipt


def _answer(config: EstimateConfig, kind: Gpu, vocabulary_size: int) -> dict[str, Any]:
    """The estimate asked for, and in words what was asked."""
    tokens = float(parameters_of(config.tokens)) if config.tokens else None
    like = Layout(number_type=config.number_type, kernels=config.software)
    if config.model is None and config.size is None:
        found = largest(kind, config.gpus, config.days, vocabulary_size, like)
        asked = (
            f"the largest model that {config.gpus:,} {kind.name} train in {config.days:g} days, 20 tokens a parameter"
        )
    else:
        if config.model is not None:
            job, name = by_file(config.model, tokens, config.sequence_length), str(config.model)
        else:
            job, name = by_dial(config.size or "", vocabulary_size, tokens)[0], str(config.size)
        found = fastest(job, kind, config.gpus, like)
        asked = f"{name} on {config.gpus:,} {kind.name}"
    used = found.layout.gpus
    remark = f"{used:,} of {config.gpus:,} GPUs have work"
    if used < 0.9 * config.gpus:
        remark += (
            f": a step holds only {found.job.sequences_per_step:,} sequences of {found.job.sequence_length:,} tokens"
        )
    return {"asked": asked, "gpus": remark, "assumed": ASSUMED, **found.to_json(config.price_usd_per_gpu_hour)}


def _own_run(square: Square, own: Receipt, config: EstimateConfig, kind: Gpu) -> dict[str, Any]:
    """The square's own run: as it was measured, on one of these GPUs, and on all that it can use."""
    model = ModelConfig.from_record(
        json.loads((square.runs / str(own.name) / "model.json").read_text(encoding="utf-8"))
    )
    length, per_step = own.results["sequence_length"], own.results["tokens_per_step"]
    job = Job(from_model(model), float(own.results["steps"] * per_step), length, per_step // length)
    one, many = fastest(job, kind, 1), fastest(job, kind, config.gpus)
    used = many.layout.gpus
    return {
        "name": own.name,
        "parameters": job.shape.parameters,
        "tokens": round(job.tokens),
        "measured_seconds": own.results.get("step_seconds"),
        "measured_on": own.results.get("device"),
        "seconds_on_one_gpu": one.days * 86400,
        "seconds_on_all_gpus": many.days * 86400,
        "gpus_it_can_use": used,
        "remark": f"A step holds {job.sequences_per_step:,} sequences, so that no more than {used:,} of "
        f"{config.gpus:,} GPUs shorten it, by {one.days / many.days:.1f} times."
        if used < config.gpus
        else f"All {used:,} GPUs have work.",
    }


def _posts(tokens: Receipt | None, curated: Receipt | None, needed: int) -> dict[str, Any]:
    """How many posts like this square's the tokens would take; null while the square has no shards."""
    if tokens is None:
        return {"tokens_needed": needed, "tokens_per_post": None, "posts_needed": None}
    held = sum(count for name, count in tokens.results["tokens"].items() if name.startswith("documents"))
    rows = curated.counts.get("kept") if curated else None
    per_post = held / rows if rows else None
    return {
        "tokens_needed": needed,
        "tokens_here": held,
        "tokens_per_post": per_post,
        "posts_needed": round(needed / per_post) if per_post else None,
    }
