"""Runs listed, compared and drawn: the figures are those of their step logs and receipts, whether they ended or not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics

import pytest
from small_square import make_shards, posts
from typer.testing import CliRunner

from townsquare import receipts
from townsquare.cli import app
from townsquare.errors import InputError, TownsquareError
from townsquare.report.runs import compared, listed, plot
from townsquare.square import Square
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig

TINY = TrainConfig(name="first", size="400K", steps=4, sequence_length=64, tensorboard=True)


@pytest.fixture(scope="module")
def square(tmp_path_factory) -> Square:
    """Two runs that ended, and one that was stopped after two steps."""
    made = Square.create(tmp_path_factory.mktemp("runs") / "square")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)
        make_shards(made, patch, texts=posts(60))
        train_run.run(made, TINY)
        train_run.run(made, dataclasses.replace(TINY, name="second", seed=2, learning_rate=1e-4))

        @contextlib.contextmanager
        def stopping():
            calls = iter(range(1, 100))
            yield lambda: next(calls) >= 2

        patch.setattr(train_run, "_stop_signals", stopping)
        with pytest.raises(TownsquareError, match="stopped after step 2"):
            train_run.run(made, dataclasses.replace(TINY, name="third"))
    return made


def steps_of(square: Square, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (square.runs / name / "steps.jsonl").read_text().splitlines()]


def test_each_run_is_listed_with_the_figures_of_its_own_log(square):
    found = listed(square)
    assert [(run["name"], run["ended"], run["steps"]) for run in found] == [
        ("first", True, 4),
        ("second", True, 4),
        ("third", False, 2),
    ]
    for run in found:
        steps = steps_of(square, run["name"])
        assert run["loss"] == pytest.approx(sum(step["loss"] for step in steps) / len(steps))
        assert run["tokens_per_second"] == statistics.median(step["tokens_per_second"] for step in steps)
        assert run["step_hours"] == pytest.approx(sum(step["seconds"] for step in steps) / 3600)
    first = receipts.need(square, "train", "first").results
    assert found[0]["bits_per_byte"] == first["validation_bits_per_byte"]
    assert found[2]["bits_per_byte"] is None


def test_only_what_differs_is_compared(square):
    found = compared(square, ["first", "second"])
    assert found["seed"] == {"first": 1, "second": 2}
    assert found["learning_rate"]["second"] == 1e-4
    assert "size" not in found
    assert "parameters" not in found
    assert compared(square, ["first", "first"]) == {}
    assert compared(square, ["first", "third"])["steps"] == {"first": 4, "third": 2}
    with pytest.raises(InputError, match="no run fourth") as caught:
        compared(square, ["fourth"])
    assert "first, second, third" in str(caught.value.remedy)


def test_runs_are_drawn_into_the_kind_of_file_that_is_named(square, tmp_path):
    plot(square, ["first", "second", "third"], tmp_path / "loss.svg")
    drawing = (tmp_path / "loss.svg").read_text()
    assert all(name in drawing for name in ("<!-- first -->", "<!-- second -->", "<!-- third -->", "<!-- tokens -->"))
    plot(square, ["first"], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"loss\.doc"):
        plot(square, ["first"], tmp_path / "loss.doc")


def test_tensorboard_s_files_hold_each_step_s_figures(square):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    (path,) = (square.runs / "first" / "tensorboard").glob("events.*")
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        body = data[at + 12 : at + 12 + length]
        assert masked_crc32c(body).to_bytes(4, "little") == data[at + 12 + length : at + 16 + length]
        event, at = Event.FromString(body), at + 16 + length
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    for step in steps_of(square, "first"):
        for name in ("loss", "learning_rate", "gradient_norm", "utilisation"):
            assert found[f"train/{name}", step["step"]] == pytest.approx(step[name], rel=1e-6)


def test_tensorboard_without_its_package_says_what_to_install(square, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(TownsquareError, match="TensorBoard") as caught:
        train_run.run(square, dataclasses.replace(TINY, name="fourth"))
    assert "townsquare[track]" in str(caught.value.remedy)


def test_the_commands(square, tmp_path):
    def call(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["runs", *map(str, arguments), "--square", str(square.root)])
        assert result.exit_code == 0, result.output
        return result.output

    assert "2 so far" in call("list")
    assert len(json.loads(call("list", "--json"))) >= 3
    assert "learning rate" in call("compare", "first", "second")
    assert "do not differ" in call("compare", "first", "first")
    call("plot", "first", "third", "--output", tmp_path / "runs.svg")
    assert (tmp_path / "runs.svg").is_file()
