"""A small run of the loop alone on documents of random tokens, in this process or, as a script, under torchrun.

    torchrun --nproc-per-node 2 tests/train/small_runs.py FOLDER CASE...

A case is a layout, and after a colon, where given, options: `tensor=2:untied`. Its steps.jsonl goes to FOLDER/CASE.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from townsquare.dial import dial_for
from townsquare.model import adapters
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.progress import Bar
from townsquare.train import loop
from townsquare.train.data import Documents, Order
from townsquare.train.layout import Layout, spread
from townsquare.train.loop import Plan, State
from townsquare.train.objectives import Preference
from townsquare.train.processes import ALONE, World, together
from townsquare.train.scoring import log_probabilities

STEPS, ROW, ROWS = 20, 32, 8
MODEL = ModelConfig(64, 32, 48, 2, 4, 4, 8, qk_norm=True)
REPOSITORY = Path(__file__).parents[2]


def documents(vocabulary: int = 64) -> Documents:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 30, 200)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    ids = rng.integers(0, vocabulary, offsets[-1])
    return Documents(ids, np.ones(len(ids), dtype=bool), offsets, pa.chunked_array([[]], pa.string()))


def plan_of(folder: Path, model: ModelConfig, steps: int) -> Plan:
    settings = dial_for(model, size="given", available_tokens=10**4, epochs=4)
    settings = dataclasses.replace(
        settings,
        sequence_length=ROW,
        tokens_per_step=ROW * ROWS,
        steps=steps,
        warmup_steps=2,
        decay_steps=steps // 2,
        learning_rate=0.01,
    )
    return Plan(settings, folder, torch.float32, torch.device("cpu"), 1e11, 1e9, lambda: False)


def decoder_of(model: ModelConfig) -> Decoder:
    decoder = Decoder(model)
    decoder.init_weights(torch.Generator().manual_seed(0))
    return decoder


def train(folder: Path, case: str = "", world: World = ALONE) -> State:
    """All steps, or as many as `stop=N` says, of a case; goes on from a checkpoint in the folder."""
    text, _, options = case.partition(":")
    chosen = dict(option.partition("=")[::2] for option in options.split(",") if option)
    model = dataclasses.replace(MODEL, tie_word_embeddings="untied" not in chosen)
    plan = plan_of(folder, model, STEPS)
    plan.world, plan.layout = world, Layout.parse(text, world.size)
    plan.checkpoint_seconds = float(chosen.get("every", 1e9))
    if "stop" in chosen:
        asked = iter(range(1, STEPS + 1))
        plan.should_stop = lambda: next(asked) >= int(chosen["stop"])
    if "rows" in chosen:
        loop.MICRO_TOKENS = ROW * int(chosen["rows"])
    decoder = decoder_of(model)
    if "double" in chosen:
        decoder, plan.number_type = decoder.double(), torch.float64
    if "adapted" in chosen:
        adapters.adapt(decoder, 2, torch.Generator().manual_seed(0))
    spread(decoder, plan.layout, plan.device, plan.number_type)
    read = documents()
    if "prefer" in chosen:
        read = dataclasses.replace(read, rejected_at=read.lengths // 2)
        plan.objective = Preference(log_probabilities(decoder, read, ROW, plan))
    order = Order(read, ROW, ROWS, 1)
    try:
        return loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    except loop.Interrupted:
        return State()


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]


def under_torchrun(processes: int, *command: str, restarts: int = 0) -> subprocess.Popen[str]:
    """Start a script or `-m module` of the repository in as many processes, on one thread each."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), "--max-restarts", str(restarts)),
            *command,
        ],
        cwd=REPOSITORY,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def main() -> None:
    folder = Path(sys.argv[1])
    with together() as world:
        for case in sys.argv[2:]:
            name, _, rest = case.partition("@")  # NAME@CASE, so that cases may go on from one another
            train(folder / name, rest, world)


if __name__ == "__main__":
    main()
