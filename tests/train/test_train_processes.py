"""Many processes train as one does: the same losses in every layout, and from one another's checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import small_runs
import torch
from small_runs import losses, train, under_torchrun

from townsquare.errors import ConfigError
from townsquare.model.config import ModelConfig
from townsquare.train import checkpoints
from townsquare.train.layout import Layout

SCRIPT = "tests/train/small_runs.py"
TWO = ("tensor@tensor=2", "half@tensor=2:stop=10", "grown@", "shard@", "prefer@:prefer", "adapted@:prefer,adapted")
TWO_MORE = (
    "copies@replicate=2",
    "single-rows@:rows=1",
    "untied@tensor=2:untied,double",
    "untied-shard@:untied",
    "prefer@tensor=2:prefer",
)
FOUR = (
    "shard@",
    "hybrid@replicate=2",
    "product@tensor=2",
    "tensor@tensor=4",
    "copies@replicate=4",
    "copies-tensor@replicate=2,tensor=2",
    "untied@tensor=2:untied,double",
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, to the end; and `grown`, stopped half way."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder / "one")
    train(folder / "grown", ":stop=10")
    assert len(losses(folder / "grown")) == 10
    return folder


def finished(child: subprocess.Popen[str]) -> str:
    out, said = child.communicate(timeout=400)
    assert child.returncode == 0, said
    return out + said


@pytest.fixture(scope="module")
def two(alone: Path) -> Path:
    finished(under_torchrun(2, SCRIPT, str(alone), *TWO))
    return alone


@pytest.mark.parametrize("name", ["shard", "tensor"])
def test_two_processes_have_the_losses_of_one(two: Path, name: str) -> None:
    expected = losses(two / "one")
    assert len(set(expected)) == small_runs.STEPS == len(expected)
    assert losses(two / name) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["prefer", "adapted"])
def test_preferences_and_adapters_too(two: Path, name: str) -> None:
    train(two / f"one-{name}", ":prefer,adapted" if name == "adapted" else ":prefer")
    expected = losses(two / f"one-{name}")
    assert len(set(expected)) == small_runs.STEPS
    assert losses(two / name) == pytest.approx(expected, abs=1e-5)


def test_a_run_goes_on_in_another_layout_and_number_of_processes(two: Path) -> None:
    train(two / "half")
    for name in ("half", "grown"):
        assert losses(two / name) == pytest.approx(losses(two / "one"), abs=1e-5)


def test_the_weights_are_those_of_one_process(two: Path) -> None:
    one, shard = (small_runs.decoder_of(small_runs.MODEL) for _ in range(2))
    for name, model in (("one", one), ("shard", shard)):
        state = checkpoints.load_checkpoint(checkpoints.latest(two / name / "checkpoints"), model)
        assert state["step"] == small_runs.STEPS
    for (name, weight), other in zip(one.named_parameters(), shard.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=2e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "cases"), [(2, TWO_MORE), (4, FOUR)])
def test_every_layout_has_the_losses_of_one_process(tmp_path: Path, processes: int, cases: tuple[str, ...]) -> None:
    finished(under_torchrun(processes, SCRIPT, str(tmp_path), *cases))
    for case in cases:
        name, _, rest = case.partition("@")
        options = [option for option in rest.partition(":")[2].split(",") if option in ("untied", "double", "prefer")]
        reference = tmp_path / "-".join(["one", *options])
        if not reference.exists():
            train(reference, ":" + ",".join(options))
        assert losses(tmp_path / name) == pytest.approx(losses(reference), abs=1e-5), case


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_the_trace_is_that_of_an_unbroken_run(tmp_path: Path) -> None:
    finished(under_torchrun(2, SCRIPT, str(tmp_path), "unbroken@:every=0.0"))
    for rank in (0, 1):
        name = f"killed-{rank}"
        child = under_torchrun(2, SCRIPT, str(tmp_path), f"{name}@:every=0.0", restarts=1)
        while child.poll() is None and checkpoints.latest(tmp_path / name / "checkpoints") is None:
            time.sleep(0.01)
        os.kill(worker(child.pid, rank), signal.SIGKILL)
        finished(child)
        assert losses(tmp_path / name) == losses(tmp_path / "unbroken")
        ends = [checkpoints.latest(tmp_path / n / "checkpoints").path for n in (name, "unbroken")]
        assert len({(path / "model.safetensors").read_bytes() for path in ends}) == 1


@pytest.mark.slow
def test_an_error_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "townsquare.toml").touch()
    child = under_torchrun(2, "-m", "townsquare.cli", "train", "--square", str(tmp_path))
    _, said = child.communicate(timeout=200)
    assert child.returncode == 1
    assert said.count("Run first: townsquare tokens") == 1
    assert "\n[rank" not in said, "no traceback of ours"


def worker(agent: int, rank: int) -> int:
    """The process of a rank that torchrun started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and f"PPid:\t{agent}\n" in (folder / "status").read_text():
            variables = (folder / "environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in variables:
                return int(folder.name)
    raise AssertionError(f"no process has rank {rank}")


# Layouts as text.


def test_a_layout_takes_all_processes() -> None:
    assert Layout.parse("", 8) == Layout(shard=8)
    assert Layout.parse("tensor=2", 8) == Layout(shard=4, tensor=2)
    assert Layout.parse("replicate=2, shard=2,tensor=2", 8) == Layout(2, 2, 2)
    assert [Layout(2, 2, 2).share(rank) for rank in (0, 1, 2, 7)] == [(0, 4), (0, 4), (1, 4), (3, 4)]
    for text, processes, said in (
        ("shard=3", 4, "needs 3 processes, and 4"),
        ("tensor=3", 4, "needs 3 processes"),
        ("pipeline=2", 2, "cannot be 'pipeline=2'"),
        ("shard=0", 1, "cannot be"),
    ):
        with pytest.raises(ConfigError, match=said):
            Layout.parse(text, processes)


def test_tensor_must_divide_what_it_splits() -> None:
    model = ModelConfig(64, 32, 48, 2, 4, 2, 8)
    Layout(tensor=2).check(model, 32)
    with pytest.raises(ConfigError, match="does not divide the 2 key and value heads"):
        Layout(tensor=4).check(model, 32)
    with pytest.raises(ConfigError, match="33 tokens a row"):
        Layout(tensor=2).check(model, 33)
