"""What a checkpoint costs the training loop, written aside or waited for, and what a second process brings.

    python bench/processes.py [--steps 20]

The model and rows are those of bench/train.py. First one process with all threads: a step without a checkpoint, and
what one more costs at every fifth step, waited for and written aside. Then the same rows in two processes with half of
the threads each, sharding, under torchrun; the ratio of tokens a second is to one process with all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from train import ROW, TOKENS_PER_STEP, VOCABULARY, WARM, documents

from townsquare.dial import dial
from townsquare.model.decoder import Decoder
from townsquare.train.checkpoints import Keep, writing
from townsquare.train.data import Order
from townsquare.train.layout import Layout, spread
from townsquare.train.loop import Learner, Plan, State, number_type, one_step
from townsquare.train.optimizers import Optimizers
from townsquare.train.processes import World, together

EVERY = 5


def seconds_of(steps: int, folder: Path, how: str, world: World) -> float:
    """Mean seconds of a step, checkpoints included: `none`, `waited` or `aside`."""
    settings = dial("6.8M", vocabulary_size=VOCABULARY, available_tokens=10**9)
    decoder, device = Decoder(settings.model), torch.device("cpu")
    decoder.init_weights(torch.Generator().manual_seed(1))
    kind, layout = number_type(device), Layout.parse("", world.size)
    plan = Plan(settings, folder, kind, device, 1.0, 1e9, lambda: False, None, world, layout)
    spread(decoder, layout, device, kind)
    learner, state = Learner(decoder, decoder.hidden, Optimizers(decoder, 1e-3, 0.1, kind)), State()
    order = Order(documents((WARM + steps + 1) * TOKENS_PER_STEP), ROW, TOKENS_PER_STEP // ROW, 1)
    with writing(folder, Keep(), world) as writer:
        started = time.monotonic()
        for step in range(WARM + steps):
            if step == WARM:
                writer.wait()
                started = time.monotonic()
            one_step(learner, order.batch(step, layout.share(world.rank)), plan, step, state)
            if how != "none" and step % EVERY == 0:
                writer.save(decoder, learner.optimizers, {"step": step}, None)
            if how == "waited":
                writer.wait()
        return (time.monotonic() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with together() as world, tempfile.TemporaryDirectory() as folder:
        found = {"none": seconds_of(arguments.steps, Path(folder), "none", world)}
        if not arguments.worker:
            found |= {how: seconds_of(arguments.steps, Path(folder), how, world) for how in ("waited", "aside")}
        if world.leads:
            print(json.dumps({"processes": world.size, "seconds_per_step": found}), flush=True)
    if arguments.worker:
        return
    for how in ("waited", "aside"):
        print(f"a checkpoint {how}: {EVERY * (found[how] / found['none'] - 1):.2f} steps' time")
    threads = {**os.environ, "OMP_NUM_THREADS": str(max(torch.get_num_threads() // 2, 1))}
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, "--worker")
    said = subprocess.run(
        [sys.executable, *command, "--steps", str(arguments.steps)],
        env=threads,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    two = json.loads(said.splitlines()[-1])["seconds_per_step"]["none"]
    print(f"two processes over one: {found['none'] / two:.2f} of its tokens a second, {two:.3f} s a step")


if __name__ == "__main__":
    main()
