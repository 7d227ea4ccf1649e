"""Checkpoints: written aside, kept by policy, gone back to when weights went bad; settings that may differ."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import MODEL, ROW, ROWS, decoder_of, documents, plan_of
from small_square import make_shards

from townsquare.errors import ConfigError, TownsquareError
from townsquare.model.decoder import Decoder
from townsquare.progress import Bar
from townsquare.square import Square
from townsquare.train import checkpoints, loop
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig
from townsquare.train.data import Order
from townsquare.train.run import run


def small_run(folder: Path, steps: int = 8) -> tuple[Decoder, Order, loop.Plan]:
    return decoder_of(MODEL), Order(documents(), ROW, ROWS, 1), plan_of(folder, MODEL, steps)


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_a_snapshot_does_not_change_while_training_goes_on(tmp_path, monkeypatch):
    decoder, order, plan = small_run(tmp_path)
    plan.checkpoint_seconds, plan.keep = 0.0, checkpoints.Keep(last=20)
    loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    step_by_step = [
        load_file(found.path / "model.safetensors") for found in checkpoints.finished(plan.folder / "checkpoints")
    ]

    released, honest = threading.Event(), checkpoints.write_checkpoint

    def late(*arguments):
        assert released.wait(60)
        return honest(*arguments)

    def and_release(*arguments):
        record = one_step(*arguments)
        if record["step"] == 6:
            released.set()
        return record

    one_step = loop.one_step
    monkeypatch.setattr(checkpoints, "write_checkpoint", late)
    monkeypatch.setattr(loop, "one_step", and_release)
    decoder, order, plan = small_run(tmp_path / "aside")
    plan.keep = checkpoints.Keep(last=20, every=3)
    loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    found = checkpoints.finished(plan.folder / "checkpoints")
    assert [one.step for one in found] == [3, 6, 8], "the one of step 3 was written after step 6"
    for one in found:
        weights = load_file(one.path / "model.safetensors")
        assert all(torch.equal(weights[name], tensor) for name, tensor in step_by_step[one.step - 1].items())


def test_checkpoints_are_kept_by_policy(tmp_path):
    decoder, order, plan = small_run(tmp_path, steps=12)
    scores = iter([3.0, 1.0, 2.0, 2.5, 1.5, 4.0])
    on_disk = []

    def measure(_decoder):
        on_disk.append(checkpoints.latest(tmp_path / "checkpoints").step)
        return next(scores)

    plan.keep, plan.measure, plan.measure_every = checkpoints.Keep(last=1, every=5), measure, 2
    loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    assert on_disk == [2, 4, 6, 8, 10, 12], "each was saved before it was measured"
    assert checkpoints.best_step(tmp_path) == 4
    assert [one.step for one in checkpoints.finished(tmp_path / "checkpoints")] == [4, 5, 10, 12]


def test_weights_that_went_bad_are_taken_back(tmp_path, monkeypatch):
    decoder, order, plan = small_run(tmp_path, steps=12)
    plan.keep = checkpoints.Keep(last=9, every=2)
    honest, seen = loop.one_step, {}

    def spoiled(learner, batch, plan, step, state):
        if step == 5:  # as a fault of memory would; the checkpoint of step 6 has it too
            learner.decoder.lm_head.weight.data.mul_(1e4)
        record = honest(learner, batch, plan, step, state)
        seen[step + 1] = learner.decoder.lm_head.weight.detach().clone()
        return record

    monkeypatch.setattr(loop, "one_step", spoiled)
    state = loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    found = records(tmp_path)
    assert [record["step"] for record in found if record["skipped"]] == [6, 7, 8]
    assert [record.get("rolled_back_to") for record in found] == [*[None] * 7, 4, *[None] * 4]
    assert (state.skipped_steps, state.rollbacks, state.step) == (3, 1, 12)
    assert found[8]["loss"] < 1.5 * found[4]["loss"], "it learns on from sound weights"
    again = load_file(tmp_path / "checkpoints" / "step-0000008" / "model.safetensors")
    assert torch.equal(again["model.embed_tokens.weight"], seen[4])


def test_a_loss_that_never_gets_better_ends_the_run_with_a_remedy(tmp_path, monkeypatch):
    decoder, order, plan = small_run(tmp_path, steps=30)
    honest = loop.token_losses
    monkeypatch.setattr(loop, "token_losses", lambda *a: honest(*a) * float("nan"))
    with pytest.raises(TownsquareError, match="3 steps in a row up to step 12, after 3 returns") as caught:
        loop.train(decoder, decoder.hidden, order, plan, Bar("test", None, "steps"))
    assert "--learning-rate" in str(caught.value.remedy)


def test_settings_that_change_no_result_are_free_to_differ(square, monkeypatch):
    monkeypatch.setattr(train_run, "number_type", lambda device: torch.float32)
    monkeypatch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)
    make_shards(square, monkeypatch)
    config = TrainConfig(name="tiny", size="400K", steps=4, sequence_length=64, measure_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "interrupted", lambda *a: loop.Interrupted("here"))
        patch.setattr(loop.World, "either", lambda self, *flags: [True, True])
        with pytest.raises(TownsquareError, match="training was here"):
            run(square, config)
    receipt = run(square, dataclasses.replace(config, layout="shard=1", keep_last=4, checkpoint_seconds=1e-9))
    folder = square.runs / "tiny"
    assert [record["step"] for record in records(folder)] == [1, 2, 3, 4]
    assert receipt.results["layout"] == "replicate=1,shard=1,tensor=1"
    assert receipt.results["best_checkpoint"] in (2, 4)
    assert len(checkpoints.finished(folder / "checkpoints")) == 4
    assert run(square, config).skipped
    with pytest.raises(ConfigError, match="needs 2 processes"):
        run(Square.open(square.root, replace=True), dataclasses.replace(config, seed=3, layout="shard=2"))
