"""The training loop's FLOP/s over this machine's own matrix-product rate, beside transformers' Llama of the same shape.

    python bench/train.py [--steps 20] [--compile]

About 6.8M parameters in the blocks, 256-token rows packed from short documents, 4,096 tokens a step, all in one run.
FLOPs are `townsquare.model.cost`'s: 6 N + 12 L h s, the whole attention square. The peer learns unpacked rows with
AdamW, in float32 and in the loop's number type by autocast. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import torch

from townsquare.dial import dial
from townsquare.model.cost import parameters, training_flops_per_token
from townsquare.model.decoder import Decoder
from townsquare.train.data import Documents, Order
from townsquare.train.loop import Learner, Plan, State, measure_matmul, number_type, one_step
from townsquare.train.optimizers import Optimizers

VOCABULARY, ROW, TOKENS_PER_STEP, WARM = 8192, 256, 4096, 3


def documents(tokens: int) -> Documents:
    """Random documents of 10 to 60 tokens, as posts are."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 60, tokens // 35)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    ids = rng.integers(3, VOCABULARY, offsets[-1])
    return Documents(
        ids, np.ones(len(ids), dtype=bool), offsets, pa.chunked_array([[[str(n)] for n in range(len(lengths))]])
    )


def timed(work: Callable[[int], object], steps: int) -> float:
    """Median seconds of a step, after a few that warm up."""
    seconds = []
    for step in range(WARM + steps):
        started = time.monotonic()
        work(step)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds[WARM:])


def ours(steps: int, compiled: bool, kind: torch.dtype) -> tuple[Decoder, float]:
    """Our loop's own step: batch, mask, loss, clipping, both optimizers."""
    settings = dial("6.8M", vocabulary_size=VOCABULARY, available_tokens=10**9)
    decoder, device = Decoder(settings.model), torch.device("cpu")
    decoder.init_weights(torch.Generator().manual_seed(1))
    hidden = torch.compile(decoder.hidden) if compiled else decoder.hidden
    learner = Learner(decoder, hidden, Optimizers(decoder, 1e-3, 0.1))
    plan = Plan(settings, Path(mkdtemp()), kind, device, 1.0, 1e9, lambda: False)
    order = Order(documents((WARM + steps + 1) * TOKENS_PER_STEP), ROW, TOKENS_PER_STEP // ROW, 1)
    state = State()
    return decoder, timed(lambda step: one_step(learner, order.batch(step), plan, step, state), steps)


def peer(decoder: Decoder, steps: int, kind: torch.dtype) -> float:
    """transformers' model of the same shape, a plain loop with fused AdamW."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    record = decoder.config.to_huggingface()
    model = AutoModelForCausalLM.from_config(LlamaConfig(**{k: v for k, v in record.items() if k != "model_type"}))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    rows = torch.randint(3, VOCABULARY, (TOKENS_PER_STEP // ROW, ROW))

    def work(_step: int) -> None:
        with torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
            loss = model(input_ids=rows, labels=rows, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return timed(work, steps)


def main() -> None:
    """Measure everything in one run and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = torch.device("cpu")
    kind = number_type(device)
    rate = measure_matmul(kind, device)
    decoder, seconds = ours(options.steps, options.compile, kind)
    flops = training_flops_per_token(decoder.config, ROW) * TOKENS_PER_STEP
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {str(kind).removeprefix('torch.')}"
    )
    print(f"{parameters(decoder.config).total:,} parameters; matrix product {rate / 1e9:,.0f} GFLOP/s")
    for name, taken in (
        (f"townsquare's loop, {'compiled' if options.compile else 'eager'}", seconds),
        ("transformers' Llama, the same number type", peer(decoder, options.steps, kind)),
        ("transformers' Llama, float32", peer(decoder, options.steps, torch.float32)),
    ):
        speed = TOKENS_PER_STEP / taken
        share = flops / taken / rate
        print(f"{name:44} {speed:8,.0f} tokens/s  {share:.3f} of the matrix rate  {taken / seconds:.2f} of our time")


if __name__ == "__main__":
    main()
