"""Receipts: written last, the same is skipped, other inputs are refused and named, a full disk loses nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare import receipts
from townsquare.errors import LockedError, StaleError, StorageError
from townsquare.receipts import Input, Receipt, fingerprint_of, sha256_of, stage
from townsquare.square import Square


@dataclasses.dataclass(frozen=True)
class Config:
    """A stage's settings."""

    size: str = "small"
    path: Path | None = None
    words: tuple[str, ...] = ()
    seed: int = 7


ONE = Input("posts", "1" * 64)
TWO = Input("posts", "2" * 64)


def run(square: Square, inputs: list[Input], config: Config, **options: Any) -> Receipt:
    with stage(square, "curate", inputs=inputs, config=config, **options) as work:
        if work.done:
            return work.done
        work.count(seen=10, kept=8, dropped={"spam": 2})
        work.results["outputs"] = {"corpus": "3" * 64}
    return work.receipt


def test_a_receipt_says_what_was_done_and_is_read_back_equal(square: Square) -> None:
    receipt = run(square, [ONE], Config(path=Path("a/b"), words=("x",)))
    assert receipt.config == {"path": "a/b", "seed": 7, "size": "small", "words": ["x"]}
    assert receipt.counts == {"seen": 10, "kept": 8, "dropped": {"spam": 2}}
    assert (receipt.seed, receipt.square, receipt.stage) == (7, "square", "curate")
    assert receipt.peak_memory_bytes > 1_000_000
    assert receipt.versions["python"].startswith("3.")
    assert receipts.read(square, "curate") == receipt
    assert receipts.need(square, "curate") == receipt
    record = json.loads((square.receipts / "curate.json").read_text())
    assert record == receipt.to_json()
    assert "skipped" not in record


def test_the_fingerprint_is_what_its_definition_says() -> None:
    config = {"size": "small", "n": 1}
    inputs = [Input("b", "2"), Input("a", "1")]
    said = '{"config": {"n": 1, "size": "small"}, "inputs": [["a", "1"], ["b", "2"]], "stage": "curate"}'
    assert fingerprint_of("curate", inputs, config) == hashlib.sha256(said.encode()).hexdigest()
    assert fingerprint_of("curate", inputs[::-1], config) == fingerprint_of("curate", inputs, config)


@given(
    st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers()),
)
def test_anything_else_gives_another_fingerprint(inputs: list[tuple[str, str]], config: dict[str, int]) -> None:
    given_inputs = [Input(*pair) for pair in inputs]
    print_ = fingerprint_of("a", given_inputs, config)
    assert fingerprint_of("b", given_inputs, config) != print_
    assert fingerprint_of("a", [*given_inputs, ONE], config) != print_
    assert fingerprint_of("a", given_inputs, {**config, "another": 1}) != print_


def test_the_same_again_is_skipped_and_not_written(square: Square) -> None:
    first = run(square, [ONE], Config())
    before = (square.receipts / "curate.json").stat().st_mtime_ns
    with stage(square, "curate", inputs=[ONE], config=Config()) as work:
        assert work.done is not None
        assert work.done.skipped
        work.count(seen=999)
    assert work.receipt == first
    assert receipts.read(square, "curate") == first
    assert (square.receipts / "curate.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("inputs", "config", "named"),
    [
        ([TWO], Config(), "other input `posts` (then 1111"),
        ([ONE, Input("grants", "5")], Config(), "other input `grants` (then None, now 5)"),
        ([], Config(), "other input `posts` (then 1111"),
        ([ONE], Config(size="large"), "other setting `size` (then small, now large)"),
        ([ONE], Config(seed=8), "other setting `seed` (then 7, now 8)"),
    ],
)
def test_other_inputs_or_settings_are_refused_by_name(
    square: Square, inputs: list[Input], config: Config, named: str
) -> None:
    first = run(square, [ONE], Config())
    with pytest.raises(StaleError) as caught:
        run(square, inputs, config)
    assert named in caught.value.message
    assert caught.value.exit_code == 5
    assert "curate.json" in str(caught.value.place)
    assert "--replace" in str(caught.value.remedy)
    assert receipts.read(square, "curate") == first
    replaced = run(Square.open(square.root, replace=True), inputs, config)
    assert replaced.fingerprint != first.fingerprint
    assert run(square, inputs, config).skipped


def test_named_outputs_of_one_stage_are_told_apart(square: Square) -> None:
    one = run(square, [ONE], Config(), name="one")
    two = run(square, [TWO], Config(size="large"), name="two")
    assert receipts.read(square, "curate") is None
    assert receipts.read(square, "curate", "one") == one
    assert receipts.read_all(square, "curate") == [one, two]
    assert receipts.read_all(square, "train") == []
    assert receipts.as_input(one) == Input("curate-one", one.fingerprint)


def test_a_stage_that_fails_leaves_no_receipt_and_no_lock(square: Square) -> None:
    with pytest.raises(ZeroDivisionError), stage(square, "curate", inputs=[], config=Config()):
        raise ZeroDivisionError
    assert receipts.read(square, "curate") is None
    assert not run(square, [], Config()).skipped


def test_a_dry_run_leaves_nothing(square: Square) -> None:
    run(square, [ONE], Config())
    dry = run(square, [TWO], Config(), mode="dry")
    assert dry.counts["seen"] == 10
    assert receipts.need(square, "curate").inputs == (ONE,)


def test_two_stages_at_once_are_refused(square: Square) -> None:
    with (
        stage(square, "curate", inputs=[], config=Config()),
        pytest.raises(LockedError, match="`townsquare curate`"),
        stage(square, "tokens", inputs=[], config=Config(), name="a"),
    ):
        pass


def test_what_has_not_run_names_the_command(square: Square) -> None:
    with pytest.raises(StaleError, match="`train tiny` has not run") as caught:
        receipts.need(square, "train", "tiny")
    assert "townsquare train" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"inputs": [1]}', b'{"inputs": [], "other": 1}', b"\xff"]
)
def test_a_damaged_receipt_is_told(square: Square, content: bytes) -> None:
    square.receipts.mkdir()
    (square.receipts / "curate.json").write_bytes(content)
    for read in (lambda: receipts.read(square, "curate"), lambda: receipts.read_all(square)):
        with pytest.raises(StaleError, match="a receipt cannot be read") as caught:
            read()
        assert "curate.json" in str(caught.value.place)
        assert "Remove it" in str(caught.value.remedy)


def test_the_hash_of_a_folder_hangs_on_names_and_content_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "deep").mkdir(parents=True)
        for file in ["b", "deep/a"] if name == "one" else ["deep/a", "b"]:
            (folder / file).write_text(f"content of {file}")
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    (tmp_path / "two" / "b").rename(tmp_path / "two" / "c")
    assert sha256_of(tmp_path / "one") != sha256_of(tmp_path / "two")
    (tmp_path / "two" / os.fsdecode(b"\xff")).write_text("a name in no encoding")
    sha256_of(tmp_path / "two")
    file = tmp_path / "one" / "b"
    assert sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_disk_that_fills_while_a_stage_writes(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(square, [ONE], Config(), name="kept")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        with pytest.raises(StorageError, match="disk is full"):
            run(square, [TWO], Config(), name="lost")
    assert receipts.read(square, "curate", "lost") is None
    assert receipts.read_all(square) == [first]
    assert not run(square, [TWO], Config(), name="lost").skipped


INGEST = """
import resource
import signal
import sys
from pathlib import Path
from townsquare.errors import StorageError
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run
from townsquare.square import Square
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    print(run(Square.open(sys.argv[1]), IngestConfig(paths=(Path(sys.argv[2]),))).counts["kept"])
except StorageError as error:
    print(error.exit_code, error.message)
"""


def test_a_real_ingest_that_runs_out_of_space_says_so_and_can_be_run_again(square: Square, tmp_path: Path) -> None:
    posts = tmp_path / "posts.csv"
    posts.write_text("id,text\n" + "".join(f"{i},{os.urandom(200).hex()}\n" for i in range(3000)))
    command = [sys.executable, "-c", INGEST, str(square.root), str(posts)]
    done = subprocess.run([*command, "200000"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("7 "), done.stderr
    assert not receipts.read_all(square)
    assert subprocess.run([*command, "-1"], capture_output=True, text=True, check=True).stdout == "3000\n"
