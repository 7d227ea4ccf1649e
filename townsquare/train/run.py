"""The train stage: shards -> checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from townsquare import receipts
from townsquare.dial import Dial, dial, dial_for, for_preferences
from townsquare.errors import ConfigError, InputError, StaleError, TownsquareError
from townsquare.fleet.meter import Job, log_path, metered, settle_earlier
from townsquare.model import adapters, gguf_files, huggingface
from townsquare.model.cost import parameters
from townsquare.model.decoder import Decoder
from townsquare.progress import progress
from townsquare.receipts import Input, Receipt
from townsquare.square import Square, write_atomically, write_json
from townsquare.tokens import tables
from townsquare.train import tables as runs
from townsquare.train.checkpoints import Keep, best_step, latest
from townsquare.train.config import TrainConfig
from townsquare.train.data import Documents, Order, read_documents
from townsquare.train.layout import Layout, spread
from townsquare.train.loop import Interrupted, Plan, State, measure_matmul, number_type, train
from townsquare.train.objectives import SHARDS, Preference
from townsquare.train.processes import World, device_here, together
from townsquare.train.scoring import HeldOutPairs, bits_per_byte, held_out_documents, log_probabilities

CURVE_POINTS = 200
SAME_SECONDS = 1.0


def run(square: Square, config: TrainConfig) -> Receipt:
    """Train the run `config.name`, or go on with it from its last checkpoint.

    Raises StaleError when there are no shards, InputError when weights and shards do not fit.
    """
    inputs = [tables.tokens_input(square)]
    if config.start_from is not None:
        inputs.append(receipts.as_input(receipts.need(square, "train", config.start_from)))
    if config.base is not None:
        if not config.base.exists():
            raise InputError("there is no such base model", place=str(config.base), remedy="Mend the path.")
        inputs.append(Input("base", receipts.sha256_of(config.base)))
    with together() as world:
        mode: Literal["alone", "follow"] = "alone" if world.leads else "follow"
        with receipts.stage(square, "train", inputs=inputs, config=config, name=config.name, mode=mode) as work:
            if work.done:
                return work.done
            results = _train(square, config, work.fingerprint, world)
            left_out = results.pop("left_out")
            work.results.update(results)
            work.count(seen=results["documents"] + left_out, kept=results["documents"])
            if left_out:
                work.count(dropped={"longer_than_a_row": left_out})
    return work.receipt


def _train(square: Square, config: TrainConfig, fingerprint: str, world: World) -> dict[str, Any]:
    documents = read_documents(tables.shards(square, SHARDS[config.objective], "train"))
    if not len(documents):
        raise StaleError(
            f"the shards hold no {SHARDS[config.objective]} to train on",
            place=str(square.tokens),
            remedy="Ingest more posts, or see why curation dropped them: townsquare status",
        )
    vocabulary_size = tables.manifest(square)["vocabulary_size"]
    with _stop_signals() as should_stop:
        decoder, settings = _start(square, config, vocabulary_size, len(documents.ids))
        documents, left_out = _that_fit(documents, settings.sequence_length)
        if config.adapter_rank is not None:
            adapters.adapt(decoder, config.adapter_rank, torch.Generator().manual_seed(config.seed))
        plan = _plan(square, config, settings, fingerprint, world)
        plan.should_stop = should_stop
        order = Order(
            documents, settings.sequence_length, settings.tokens_per_step // settings.sequence_length, config.seed
        )
        if world.leads:
            _write_lineage(plan.folder, order, settings.steps)
            _keep_with_run(square, plan.folder, settings, config)
        spread(decoder, plan.layout, plan.device, plan.number_type)
        held_out = _prepare(square, config, decoder, documents, plan)
        hidden = torch.compile(decoder.hidden) if config.compile else decoder.hidden
        state = _metered_training(Job(square, config.name, fingerprint, plan.device.type), decoder, hidden, order, plan)
    results = _results(square, config, decoder, plan, order, state)
    share = held_out.preferred_share(decoder, plan) if held_out is not None else None
    return results | {"validation_preferred_share": share, "left_out": left_out}


def _that_fit(documents: Documents, row_length: int) -> tuple[Documents, int]:
    """Pairs that fit a row, for a pair is never cut, and how many do not. Other documents may be of any length."""
    if documents.rejected_at is None:
        return documents, 0
    fits = documents.lengths <= row_length
    if not fits.any():
        raise InputError(
            f"no preference pair fits a row of {row_length:,} tokens", remedy="Give a greater --sequence-length."
        )
    return documents.only(fits), int((~fits).sum())


def _prepare(
    square: Square, config: TrainConfig, decoder: Decoder, documents: Documents, plan: Plan
) -> HeldOutPairs | None:
    """For preferences: what the decoder makes of every pair before it learns, in the plan and for the score."""
    if config.objective != "prefer":
        return None
    length = plan.dial.sequence_length
    plan.objective = Preference(log_probabilities(decoder, documents, length, plan))
    held_out = held_out_documents(tables.shards(square, "pairs", "validation"))
    held_out = held_out.only(held_out.lengths <= length)
    return HeldOutPairs(held_out, log_probabilities(decoder, held_out, length, plan)) if len(held_out) else None


def _plan(square: Square, config: TrainConfig, settings: Dial, fingerprint: str, world: World) -> Plan:
    """What the loop needs to know: this machine's devices, the layout, what an earlier part of the run decided."""
    layout, device = Layout.parse(config.layout, world.size), device_here()
    layout.check(settings.model, settings.sequence_length)
    if config.adapter_rank is not None and layout.tensor > 1:
        raise ConfigError(f"adapters cannot be split by tensor={layout.tensor}", remedy="Leave tensor out of --layout.")
    setup = world.told(_setup(square, fingerprint, device, config) if world.leads else None)
    plan = Plan(
        dial=settings,
        folder=square.runs / config.name,
        number_type=getattr(torch, setup["number_type"]),
        device=device,
        matmul_flops_per_second=setup["matmul_flops_per_second"],
        checkpoint_seconds=config.checkpoint_seconds,
        should_stop=lambda: False,
        world=world,
        layout=layout,
        keep=Keep(config.keep_last, config.keep_every),
        measure_every=config.measure_every,
        track_into=square.runs / config.name / "tensorboard" if config.tensorboard else None,
    )
    plan.measure = lambda decoder: _validation(square, config, decoder, plan)
    return plan


def _metered_training(job: Job, decoder: Decoder, hidden: Callable[..., Tensor], order: Order, plan: Plan) -> State:
    """All steps; rank 0 meters them, for every device at once. An interruption becomes what to do next."""
    with progress(f"Training {job.name}", plan.dial.steps, "steps") as bar:
        try:
            if not plan.world.leads:
                return train(decoder, hidden, order, plan, bar)
            with metered(job, _steps_done(plan.folder)) as plan.meter:
                return train(decoder, hidden, order, plan, bar)
        except Interrupted as error:
            how = ", under another --lease or when this one allows more." if error.lease_ended else "."
            raise TownsquareError(f"training was {error}", remedy=f"Run the same command again to go on{how}") from None


def _start(square: Square, config: TrainConfig, vocabulary_size: int, tokens: int) -> tuple[Decoder, Dial]:
    """The decoder with its first weights, and the settings. Raises InputError when it does not fit the shards."""
    if config.base is not None:
        decoder = gguf_files.load(config.base) if config.base.suffix == ".gguf" else huggingface.load(config.base)
        place, remedy = str(config.base), f"Make shards with its vocabulary: townsquare tokens --base {config.base}"
    elif config.start_from is not None:
        decoder = runs.load_run(square, config.start_from)
        place, remedy = str(square.runs / config.start_from), "Train that run anew on these shards, with --replace."
    else:
        settings = dial(config.size, vocabulary_size=vocabulary_size, available_tokens=tokens, epochs=config.epochs)
        decoder = Decoder(settings.model)
        decoder.init_weights(torch.Generator().manual_seed(config.seed))
        return decoder, _overridden(settings, config)
    if decoder.config.vocab_size != vocabulary_size:
        raise InputError(
            f"the model knows {decoder.config.vocab_size:,} tokens, the shards were made with {vocabulary_size:,}",
            place=place,
            remedy=remedy,
        )
    settings = dial_for(decoder.config, size="given", available_tokens=tokens, epochs=config.epochs)
    return decoder, _overridden(settings, config)


def _overridden(settings: Dial, config: TrainConfig) -> Dial:
    """The dial's settings with those that the config sets itself; what hangs on them follows."""
    sequences, longest = 1, settings.model.max_position_embeddings
    if config.objective == "prefer":
        settings, sequences = for_preferences(settings), 2
    length = min(config.sequence_length or settings.sequence_length, sequences * longest)
    rows = max(settings.tokens_per_step // length, 1)
    steps = config.steps or settings.steps
    return dataclasses.replace(
        settings,
        sequence_length=length,
        tokens_per_step=rows * length,
        steps=steps,
        training_tokens=steps * rows * length,
        warmup_steps=max(steps // 50, min(5, steps)),
        decay_steps=max(steps // 2, 1),
        learning_rate=config.learning_rate or settings.learning_rate,
    )


def _steps_done(folder: Path) -> int:
    """Steps that the newest checkpoint holds."""
    found = latest(folder / "checkpoints")
    return found.step if found is not None else 0


def _setup(square: Square, fingerprint: str, device: torch.device, config: TrainConfig) -> dict[str, Any]:
    """What a resumed run must not decide anew: the number type. A run of another fingerprint is cleared away."""
    folder = square.runs / config.name
    path = folder / "setup.json"
    if path.is_file():
        setup: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if setup["fingerprint"] == fingerprint:
            return setup
        log = log_path(square, config.name, setup["fingerprint"])
        if log.is_file():  # what it used stays on the record
            settle_earlier(log, folder, _steps_done(folder))
        shutil.rmtree(folder)
    kind = number_type(device)
    setup = {
        "fingerprint": fingerprint,
        "number_type": str(kind).removeprefix("torch."),
        "matmul_flops_per_second": measure_matmul(kind, device),
        "start_from": config.start_from,
    }
    write_json(path, setup)
    return setup


def _keep_with_run(square: Square, folder: Path, settings: Dial, config: TrainConfig) -> None:
    """Shape, adapters' rank and vocabulary beside the checkpoints: a run can be used whatever becomes of the shards."""
    vocabulary = folder / "vocabulary"
    vocabulary.mkdir(exist_ok=True)
    for file in sorted(tables.vocabulary_path(square).iterdir()):
        write_atomically(vocabulary / file.name, file.read_bytes())
    write_json(folder / "model.json", settings.model.to_record())
    if config.adapter_rank is not None:
        base = config.base.name if config.base is not None else config.start_from
        write_json(folder / "adapter.json", {"rank": config.adapter_rank, "base": base})


def _write_lineage(folder: Path, order: Order, steps: int) -> None:
    """lineage.arrow: for every post uid the first step that reads it. Ids only."""
    first = order.first_steps(steps)
    lists = order.documents.uids.combine_chunks()
    uids = lists.flatten()
    per_uid = np.repeat(first, np.asarray(lists.value_lengths()))
    table = pa.table({"uid": uids, "first_step": pa.array(per_uid, pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_atomically(folder / "lineage.arrow", sink.getvalue().to_pybytes())


def _results(
    square: Square,
    config: TrainConfig,
    decoder: Decoder,
    plan: Plan,
    order: Order,
    state: State,
) -> dict[str, Any]:
    records = [json.loads(line) for line in (plan.folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    checkpoint = latest(plan.folder / "checkpoints")
    assert checkpoint is not None
    every = max(len(records) // CURVE_POINTS, 1)
    filled = sum(record["tokens"] for record in records)
    settings = plan.dial
    return {
        "documents": len(order.documents),
        "steps": settings.steps,
        "tokens": filled,
        "padding_share": 1 - filled / (settings.steps * settings.tokens_per_step),
        "epochs": settings.steps * order.rows_per_step / order.rows_per_epoch,
        "parameters": parameters(settings.model).total,
        "trained_parameters": sum(p.numel() for p in decoder.parameters() if p.requires_grad),
        "final_loss": float(np.mean([record["loss"] for record in records[-20:]])),
        "validation_bits_per_byte": _validation(square, config, decoder, plan),
        "skipped_steps": state.skipped_steps,
        "rollbacks": state.rollbacks,
        "learning_rate": settings.learning_rate,
        "tokens_per_step": settings.tokens_per_step,
        "sequence_length": settings.sequence_length,
        "number_type": str(plan.number_type).removeprefix("torch."),
        "device": plan.device.type,
        "processes": plan.world.size,
        "layout": str(plan.layout),
        "matmul_gflops_per_second": plan.matmul_flops_per_second / 1e9,
        "median_utilisation": float(np.median([record["utilisation"] for record in records])),
        "median_tokens_per_second": float(np.median([record["tokens_per_second"] for record in records])),
        "step_seconds": sum(record["seconds"] for record in records),
        "best_checkpoint": best_step(plan.folder),
        "curve": [[record["step"], round(record["loss"], 4)] for record in records[::every]],
        "outputs": {"model": receipts.sha256_of(checkpoint.path / "model.safetensors")},
    }


def _validation(square: Square, config: TrainConfig, decoder: Decoder, plan: Plan) -> float | None:
    """Bits per UTF-8 byte of text that bears loss, on held-out shards; null when there are none.

    For preferences it is that of conversations: whether it answers as well as before.
    """
    kind = "conversations" if config.objective == "prefer" else SHARDS[config.objective]
    documents = held_out_documents(tables.shards(square, kind, "validation"))
    if not len(documents):
        return None
    return bits_per_byte(decoder, documents, tables.token_bytes(square), plan.dial.sequence_length, plan)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a checkpoint first; a second Ctrl-C stops at once.

    Under torchrun one Ctrl-C comes twice, from the terminal and from torchrun, within `SAME_SECONDS`.
    """
    asked, asked_at = threading.Event(), math.inf
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before: dict[int, Any] = {}

    def ask(number: int, _frame: Any) -> None:
        nonlocal asked_at
        if time.monotonic() - asked_at > SAME_SECONDS:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        asked_at = min(asked_at, time.monotonic())
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for stopped, handler in before.items():
            signal.signal(stopped, handler)
