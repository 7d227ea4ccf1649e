"""The train stage whole: traces, resuming, refusals, lineage."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from small_square import make_shards, posts

from townsquare import receipts
from townsquare.dial import Dial, dial_for
from townsquare.errors import ConfigError, InputError, StaleError, StorageError, TownsquareError
from townsquare.model import gguf_files, huggingface
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.progress import Bar
from townsquare.square import Square
from townsquare.tokens import tables
from townsquare.train import checkpoints, copies, loop
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig
from townsquare.train.data import Documents, Order
from townsquare.train.run import run
from townsquare.train.tables import load_run

TINY = TrainConfig(name="tiny", size="400K", steps=6, sequence_length=64)
TALKS = [[("user", f"is {n} odd?"), ("assistant", "yes" if n % 2 else "no")] for n in range(60)]


@pytest.fixture(autouse=True)
def _exact_numbers(monkeypatch):
    """float32 everywhere, so that the numbers of these tests are those of any machine."""
    monkeypatch.setattr(train_run, "number_type", lambda device: torch.float32)
    monkeypatch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)


@pytest.fixture
def shards(square, monkeypatch) -> Square:
    make_shards(square, monkeypatch, conversations=TALKS)
    return square


def copy_of(square: Square, folder: Path) -> Square:
    shutil.copytree(square.root, folder)
    return Square.open(folder)


def stop_after(monkeypatch, steps: int) -> None:
    """Ask the loop to stop once `steps` steps are done."""

    @contextlib.contextmanager
    def signals() -> Iterator[Callable[[], bool]]:
        calls = iter(range(1, 10_000))
        yield lambda: next(calls) >= steps

    monkeypatch.setattr(train_run, "_stop_signals", signals)


def losses(square: Square, name: str = "tiny") -> list[float]:
    lines = (square.runs / name / "steps.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_the_loss_falls_along_a_known_trace(shards):
    receipt = run(shards, dataclasses.replace(TINY, steps=20))
    golden = GOLDEN_LOSSES
    assert losses(shards)[::4] == pytest.approx(golden, abs=2e-3)
    assert receipt.results["curve"][0] == [1, pytest.approx(golden[0], abs=2e-3)]
    assert receipt.results["validation_bits_per_byte"] < losses(shards)[0]
    assert receipt.results["steps"] == len(losses(shards)) == 20


GOLDEN_LOSSES = [6.009, 4.652, 2.911, 1.68, 1.124]


def test_a_stopped_run_goes_on_bit_for_bit(shards, tmp_path, monkeypatch):
    other = copy_of(shards, tmp_path / "other")
    unbroken = run(shards, TINY)
    for steps in (2, 1):
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(TownsquareError, match="stopped after step") as caught:
                run(other, TINY)
        assert "again" in str(caught.value.remedy)
    resumed = run(other, TINY)
    assert losses(other) == losses(shards)
    assert resumed.results["outputs"] == unbroken.results["outputs"]
    assert run(other, TINY).skipped


KILLED = """
import sys
from pathlib import Path
import torch
from townsquare.square import Square
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig

train_run.number_type = lambda device: torch.float32
torch.set_num_threads(int(sys.argv[2]))
train_run.run(Square.open(sys.argv[1]), TrainConfig(
    name="tiny", size="400K", steps=6, sequence_length=64, checkpoint_seconds=0.001))
"""


def test_a_killed_run_goes_on_bit_for_bit(shards, tmp_path):
    other = copy_of(shards, tmp_path / "other")
    config = dataclasses.replace(TINY, checkpoint_seconds=0.001)
    unbroken = run(shards, config)
    command = [sys.executable, "-c", KILLED, str(other.root), str(torch.get_num_threads())]
    repository = Path(__file__).parents[2]
    child = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE)
    try:
        while child.poll() is None and checkpoints.latest(other.runs / "tiny" / "checkpoints") is None:
            time.sleep(0.005)
    finally:
        child.kill()
    _, said = child.communicate()
    assert child.returncode == -signal.SIGKILL, said.decode()
    assert receipts.read(other, "train", "tiny") is None
    resumed = run(other, config)
    assert losses(other) == losses(shards)
    assert resumed.results["outputs"] == unbroken.results["outputs"]


def test_asked_by_a_signal_it_saves_first(shards, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    step = loop.one_step

    def and_a_signal(*arguments):
        record = step(*arguments)
        if record["step"] == 3:
            signal.raise_signal(signal.SIGTERM)
        return record

    monkeypatch.setattr(loop, "one_step", and_a_signal)
    with pytest.raises(TownsquareError, match="after step 3 of 6"):
        run(shards, TINY)
    assert checkpoints.latest(shards.runs / "tiny" / "checkpoints").step == 3
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_leaves_the_last_checkpoint_good(shards, tmp_path, monkeypatch):
    other = copy_of(shards, tmp_path / "other")
    unbroken = run(other, TINY)
    config = TINY
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(TownsquareError, match="stopped after step 2"):
            run(shards, config)

    def full(path, data):
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomically", full)
        with pytest.raises(StorageError, match="disk is full"):
            run(shards, config)
    folder = shards.runs / "tiny" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step-0000002"]
    assert run(shards, config).results["outputs"] == unbroken.results["outputs"]


def test_a_damaged_checkpoint_is_named(shards, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(TownsquareError, match="stopped"):
            run(shards, TINY)
    path = shards.runs / "tiny" / "checkpoints" / "step-0000002" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged") as caught:
        run(shards, TINY)
    assert caught.value.place == str(path)
    assert str(path.parent) in str(caught.value.remedy)


def test_only_the_newest_checkpoints_are_kept(shards):
    run(shards, dataclasses.replace(TINY, checkpoint_seconds=1e-9))
    kept = sorted(path.name for path in (shards.runs / "tiny" / "checkpoints").iterdir())
    assert kept == ["step-0000005", "step-0000006"]


# The loop alone, on documents of random tokens.


def small_run(folder: Path, steps: int = 8) -> tuple[Decoder, Order, loop.Plan]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 30, 200)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    ids = rng.integers(0, 20, offsets[-1])
    documents = Documents(ids, np.ones(len(ids), dtype=bool), offsets, pa.chunked_array([[]], pa.string()))
    model = ModelConfig(20, 16, 24, 2, 2, 1, 8)
    settings = dial_for(model, size="given", available_tokens=len(ids), epochs=4)
    settings = dataclasses.replace(
        settings,
        sequence_length=32,
        tokens_per_step=256,
        steps=steps,
        warmup_steps=2,
        decay_steps=4,
        learning_rate=0.01,
    )
    decoder = Decoder(model)
    decoder.init_weights(torch.Generator().manual_seed(0))
    plan = loop.Plan(settings, folder, torch.float32, torch.device("cpu"), 1e11, 1e9, lambda: False)
    return decoder, Order(documents, 32, 8, 1), plan


def trace(folder: Path) -> list[float]:
    """Losses in float64: Muon iterates in bfloat16, which would enlarge the rounding of float32's sums."""
    decoder, order, plan = small_run(folder)
    decoder.double()
    loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    return [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_micro_batches_of_any_size_agree(tmp_path, monkeypatch):
    whole = trace(tmp_path / "8x1")
    assert len(set(whole)) == len(whole) == 8, "every step changes the weights"
    for rows in (1, 3):
        monkeypatch.setattr(loop, "MICRO_TOKENS", 32 * rows)
        assert trace(tmp_path / f"{rows}") == pytest.approx(whole, abs=1e-5)


def test_gradients_of_micro_batches_add_up_to_the_batchs(tmp_path, monkeypatch):
    decoder, order, plan = small_run(tmp_path)
    batch, found = order.batch(0), []
    for rows in (8, 3, 1):
        monkeypatch.setattr(loop, "MICRO_TOKENS", 32 * rows)
        decoder.zero_grad()
        for part in loop.micro_batches(batch, plan.dial.model.vocab_size):
            loop.token_losses(decoder, decoder.hidden, part, plan).sum().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in decoder.parameters()]))
    assert found[0].norm() > 0
    for gradient in found[1:]:
        assert (gradient - found[0]).norm() / found[0].norm() < 1e-6


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 10.0])
def test_a_step_that_cannot_be_trusted_is_not_learned_from(tmp_path, monkeypatch, factor):
    decoder, order, plan = small_run(tmp_path)
    honest = loop.token_losses
    calls = iter(range(100))
    before: dict[str, torch.Tensor] = {}

    def spoiled(model, *arguments):
        number = next(calls)
        if number in (5, 6):
            now = {name: weight.detach().clone() for name, weight in model.named_parameters()}
            assert all(torch.equal(now[name], before.get(name, now[name])) for name in now)
            before.update(now)
        return honest(model, *arguments) * (factor if number == 5 else 1.0)

    monkeypatch.setattr(loop, "token_losses", spoiled)
    state = loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    records = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [record["skipped"] for record in records] == [number == 5 for number in range(8)]
    assert state.skipped_steps == 1
    assert all(torch.isfinite(weight).all() for weight in decoder.parameters())


def test_the_loss_is_that_of_plain_cross_entropy_document_by_document(tmp_path):
    decoder, order, plan = small_run(tmp_path)
    batch = order.batch(0)
    total, count = 0.0, 0
    for row in order.step(0):
        for piece in row:
            first = order.documents.offsets[piece.document]
            ids = torch.from_numpy(order.documents.ids[first + piece.start : first + piece.stop])[None]
            logits = decoder(ids)[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").detach())
            count += ids.shape[1] - 1
    assert int(batch.counts.sum()) == count
    ours = loop.token_losses(decoder, decoder.hidden, batch, plan)
    assert float(ours.sum().detach()) == pytest.approx(total, rel=1e-5)
    bits, tokens = loop.bits(decoder, [batch], plan)
    assert (bits, tokens) == (pytest.approx(total / np.log(2), rel=1e-5), count)


def test_the_number_type_follows_the_machine_and_not_its_load(monkeypatch):
    for has, kind in (({"avx2": True, "avx512_bf16": True}, torch.bfloat16), ({"avx512_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert loop.number_type(torch.device("cpu")) is kind


# What a run starts from.


def test_tuning_goes_on_from_a_run_and_learns_from_replies_only(shards):
    run(shards, dataclasses.replace(TINY, name="base"))
    receipt = run(shards, dataclasses.replace(TINY, name="chat", objective="tune", start_from="base", steps=3))
    assert [item.name for item in receipt.inputs] == ["tokens", "train-base"]
    assert receipt.counts == {"seen": 54, "kept": 54}
    untuned, tuned = load_run(shards, "base"), load_run(shards, "chat")
    assert tuned.config == untuned.config
    assert not torch.equal(tuned.lm_head.weight, untuned.lm_head.weight)


@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_a_base_of_others_is_continued_from(shards, tmp_path, form):
    run(shards, TINY)
    decoder = load_run(shards, "tiny")
    vocabulary = tables.vocabulary_path(shards)
    base = tmp_path / ("base" if form == "folder" else "base.gguf")
    if form == "folder":
        huggingface.save_folder(decoder, vocabulary, base)
    else:
        gguf_files.save(decoder, vocabulary, base, name="base", number_type="f32")
    config = dataclasses.replace(TINY, name="on", base=base, steps=2)
    receipt = run(shards, config)
    assert receipt.results["parameters"] == sum(weight.numel() for weight in decoder.parameters())
    assert losses(shards, "on")[0] < losses(shards)[0] - 1
    assert {item.name for item in receipt.inputs} == {"tokens", "base"}


def test_a_model_that_does_not_fit_its_shards_is_refused_with_the_remedy(shards, tmp_path):
    model = Decoder(ModelConfig(999, 16, 24, 2, 2, 1, 8))
    huggingface.save_folder(model, tables.vocabulary_path(shards), tmp_path / "base")
    with pytest.raises(InputError, match="999 tokens") as caught:
        run(shards, dataclasses.replace(TINY, base=tmp_path / "base"))
    assert f"townsquare tokens --base {tmp_path / 'base'}" in str(caught.value.remedy)
    with pytest.raises(InputError, match="no such base"):
        run(shards, dataclasses.replace(TINY, base=tmp_path / "nowhere"))


def test_nothing_to_train_on_is_said(square, monkeypatch):
    with pytest.raises(StaleError, match="tokens"):
        run(square, TINY)
    make_shards(square, monkeypatch)
    with pytest.raises(StaleError, match="no conversations"):
        run(square, dataclasses.replace(TINY, objective="tune"))
    with pytest.raises(StaleError, match="townsquare train"):
        run(square, dataclasses.replace(TINY, start_from="nothing"))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="both"):
        TrainConfig(start_from="base", base=Path("folder"))
    for field in ("steps", "epochs", "learning_rate", "sequence_length"):
        with pytest.raises(ConfigError, match=field):
            TrainConfig(**{field: 0})


def test_another_setting_clears_the_run_when_replacing(shards):
    run(shards, TINY)
    changed = dataclasses.replace(TINY, seed=2, steps=2)
    with pytest.raises(StaleError, match="seed"):
        run(shards, changed)
    run(Square.open(shards.root, replace=True), changed)
    assert len(losses(shards)) == 2


# Lineage: which posts a run has seen.


def test_lineage_names_the_posts_that_were_read(shards, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(TownsquareError, match="stopped"):
            run(shards, TINY)
    documents = train_run.read_documents(tables.shards(shards, "documents", "train"))
    settings: Dial = dial_for(load_run(shards, "tiny").config, size="given", available_tokens=1, epochs=1)
    uids = documents.uids.to_pylist()
    state = json.loads((shards.runs / "tiny" / "setup.json").read_text())
    assert state["number_type"] == "float32"
    del settings
    rows = tokens_per_step_of(shards) // 64
    read = {uid for row in Order(documents, 64, rows, 1).step(0) for piece in row for uid in uids[piece.document]}
    everyone = frozenset(uid for document in uids for uid in document)
    assert copies.saw(shards, everyone) == {"tiny": len(read)}
    unread = everyone - read
    assert unread
    assert copies.saw(shards, frozenset(unread)) == {"tiny": 0}
    run(shards, TINY)
    held_out = frozenset(f"x:{i}" for i in range(9, 400, 10))
    assert copies.saw(shards, everyone | held_out) == {"tiny": len(everyone)}


def tokens_per_step_of(square: Square) -> int:
    record = json.loads((square.runs / "tiny" / "steps.jsonl").read_text().splitlines()[0])
    return round(record["tokens_per_second"] * record["seconds"])


def test_a_tuned_run_has_seen_what_its_base_saw(shards):
    run(shards, dataclasses.replace(TINY, name="base"))
    run(shards, dataclasses.replace(TINY, name="chat", objective="tune", start_from="base", steps=3))
    assert copies.saw(shards, frozenset({"x:0", "x:000", "x:nobody"})) == {"base": 1, "chat": 2}


def test_lineage_holds_ids_only(shards):
    run(shards, TINY)
    content = (shards.runs / "tiny" / "lineage.arrow").read_bytes()
    assert not any(text.encode() in content for text in posts(400))
    weights = load_file(shards.runs / "tiny" / "checkpoints" / "step-0000006" / "model.safetensors")
    assert "lm_head.weight" not in weights
