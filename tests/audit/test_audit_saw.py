"""Which checkpoint saw which post: against the loop's own order of the data, before and after it was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from townsquare.audit.saw import what_saw, who_saw
from townsquare.cli import app
from townsquare.errors import InputError
from townsquare.square import Square, write_json
from townsquare.train.copies import saw


def run(
    square: Square, name: str, first_steps: dict[str, int], steps: tuple[int, ...], parent: str | None = None
) -> None:
    """A run's folder as training leaves it: which posts it reads from which step (from 0) on, and checkpoints."""
    folder = square.runs / name
    folder.mkdir(parents=True)
    table = pa.table({"uid": list(first_steps), "first_step": pa.array(first_steps.values(), pa.int64())})
    with pa.OSFile(str(folder / "lineage.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_json(folder / "setup.json", {"fingerprint": name * 64, "start_from": parent})
    for step in steps:
        (folder / "checkpoints" / f"step-{step:07d}").mkdir(parents=True)


@pytest.fixture
def runs(square: Square) -> Square:
    """`base` reads a, b and c in steps 1, 6 and 21, and stopped at 20; `chat`, from it, reads d and b in step 2."""
    run(square, "base", {"x:a": 0, "x:b": 5, "x:c": 20, "x:never": -1}, (5, 10, 20))
    run(square, "chat", {"x:d": 1, "x:b": 1}, (3,), "base")
    (square.models / "talker").mkdir(parents=True)
    write_json(square.models / "talker" / "export.json", {"name": "talker", "run": "chat"})
    return square


def test_who_saw(runs: Square) -> None:
    base, chat = who_saw(runs, "x:b")
    assert (base["run"], base["first_step"], base["checkpoints"], base["checkpoints_before_it"]) == (
        "base",
        6,
        [10, 20],
        [5],
    )
    assert (chat["run"], chat["from_run"], chat["first_step"], chat["checkpoints"]) == ("chat", "chat", 2, [3])
    assert chat["models"] == ["talker"]
    base, chat = who_saw(runs, "x:a")
    assert (base["checkpoints"], chat["from_run"], chat["checkpoints"]) == ([5, 10, 20], "base", [3])
    assert [one["run"] for one in who_saw(runs, "x:d")] == ["chat"]
    assert who_saw(runs, "x:c") == who_saw(runs, "x:never") == who_saw(runs, "x:nobody") == []


@pytest.mark.parametrize(
    ("checkpoint", "uids"),
    [
        ("base@5", ["x:a"]),
        ("base@6", ["x:a", "x:b"]),
        ("base", ["x:a", "x:b"]),
        ("base@0", []),
        ("chat", ["x:a", "x:b", "x:d"]),
        ("talker", ["x:a", "x:b", "x:d"]),
        ("chat@1", ["x:a", "x:b"]),
        ("somewhere/runs/base/checkpoints/step-0000005", ["x:a"]),
    ],
)
def test_what_saw(runs: Square, checkpoint: str, uids: list[str]) -> None:
    found = what_saw(runs, checkpoint)
    assert found["uids"] == uids
    assert found["posts"] == len(uids)
    assert found["by_source"] == {"unknown": len(uids)}, "there is no posts table here"


def test_the_two_agree_with_each_other_and_with_what_takedown_names(runs: Square) -> None:
    everybody = frozenset({"x:a", "x:b", "x:c", "x:d", "x:never"})
    for name in ("base", "chat"):
        uids = what_saw(runs, name)["uids"]
        assert uids == sorted(uid for uid in everybody if name in {one["run"] for one in who_saw(runs, uid)})
        assert saw(runs, everybody)[name] == len(uids)


@pytest.mark.parametrize("checkpoint", ["nowhere", "base@21", "base@x", "", "../base"])
def test_a_checkpoint_that_is_not_there(runs: Square, checkpoint: str) -> None:
    with pytest.raises(InputError) as caught:
        what_saw(runs, checkpoint)
    assert "base" in str(caught.value.remedy)


def test_a_run_whose_base_is_gone(runs: Square) -> None:
    shutil.rmtree(runs.runs / "base")
    assert what_saw(runs, "chat")["uids"] == ["x:b", "x:d"]


def call(square: Square, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--square", str(square.root)])


def test_the_commands(runs: Square) -> None:
    said = call(runs, "ledger", "who-saw", "x:a").stdout
    assert "base: read in step 1 of base; base@5, base@10, base@20" in said
    assert "chat, which started from base: read in step 1 of base; chat@3; models: talker" in said
    assert "No run's weights have seen x:c" in call(runs, "ledger", "who-saw", "x:c").stdout
    assert [one["run"] for one in json.loads(call(runs, "ledger", "who-saw", "x:d", "--json").stdout)] == ["chat"]
    assert json.loads(call(runs, "ledger", "what-saw", "chat", "--json").stdout)["uids"] == ["x:a", "x:b", "x:d"]
    assert "x:a" not in call(runs, "ledger", "what-saw", "chat").stdout
    assert call(runs, "ledger", "what-saw", "nowhere").exit_code == 4


def test_paths_of_other_places_are_not_read(runs: Square, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        what_saw(runs, str(tmp_path / "elsewhere" / "checkpoints" / "step-0000001"))
