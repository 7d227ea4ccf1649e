"""The export stage: what a model folder holds, that it is the run's model, and that it comes out the same."""

from __future__ import annotations

import dataclasses
import errno
import json

import pytest
import torch
from small_square import make_shards, posts

from townsquare import receipts
from townsquare.consent.grants import Grant, add_grant
from townsquare.errors import ConfigError, InputError, StaleError, StorageError
from townsquare.export.config import ExportConfig
from townsquare.export.run import run
from townsquare.model import gguf_files, huggingface
from townsquare.square import Square
from townsquare.tokens import tables
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig
from townsquare.train.tables import load_run

TINY = TrainConfig(name="tiny", size="400K", steps=2, sequence_length=64)
FILES = [
    "README.md",
    "config.json",
    "export.json",
    "generation_config.json",
    "model.gguf",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture
def trained(square, monkeypatch) -> Square:
    monkeypatch.setattr(train_run, "number_type", lambda device: torch.float32)
    monkeypatch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)
    make_shards(square, monkeypatch)
    train_run.run(square, TINY)
    return square


def test_the_folder_is_the_run_s_model_in_every_form(trained):
    receipt = run(trained, ExportConfig(run="tiny", name="small"))
    folder = trained.models / "small"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert receipt.name == "small"
    assert [item.name for item in receipt.inputs] == ["train-tiny"]
    wanted = load_run(trained, "tiny").state_dict()
    for again, exact in ((huggingface.load(folder), True), (gguf_files.load(folder / "model.gguf"), False)):
        for name, weight in again.state_dict().items():
            expected = wanted[name] if exact or weight.ndim < 2 else wanted[name].half().float()
            assert torch.equal(weight, expected), name
    vocabulary = tables.vocabulary_path(trained) / "tokenizer.json"
    assert (folder / "tokenizer.json").read_bytes() == vocabulary.read_bytes()
    record = json.loads((folder / "export.json").read_text())
    assert record["run_fingerprint"] == receipts.need(trained, "train", "tiny").fingerprint
    assert {name: receipts.sha256_of(folder / name) for name in record["files"]} == record["files"]
    assert set(record["files"]) == set(FILES) - {"README.md", "export.json"}
    assert run(trained, ExportConfig(run="tiny", name="small")).skipped


def test_the_card_tells_data_grants_training_figures_and_limits(trained):
    add_grant(trained, Grant("town-2026", "the town", "us", ("train", "tune"), sources=("*",)))
    run(trained, ExportConfig(run="tiny"))
    card = (trained.models / "tiny" / "README.md").read_text()
    result = receipts.need(trained, "train", "tiny").results
    shards = tables.manifest(trained)["shards"]["documents-train"]
    for part in (
        "documents and conversations: 400",
        f"tokens in documents-train: {sum(shard['tokens'] for shard in shards):,}",
        "town-2026 (train, tune)",
        "steps: 2",
        "size: 400K",
        f"bits per byte on held-out text: {result['validation_bits_per_byte']:.4g}",
        "Not unlearning",
        "Not a licence",
    ):
        assert part in card
    assert card.startswith("---\n")
    assert not any(text in card for text in posts(400))
    assert str(trained.root) not in card


def test_a_revoked_grant_is_not_on_the_card(trained):
    from townsquare.consent.grants import revoke_grant

    add_grant(trained, Grant("old", "the town", "us", ("train",), sources=("*",)))
    revoke_grant(trained, "old")
    run(trained, ExportConfig(run="tiny"))
    assert "old (train)" not in (trained.models / "tiny" / "README.md").read_text()


def test_the_same_run_gives_the_same_bytes_wherever_it_stands(trained, tmp_path):
    import shutil

    first = run(trained, ExportConfig(run="tiny"))
    (trained.receipts / "export-tiny.json").unlink()
    (trained.models / ".partial-tiny").mkdir()  # as a killed export leaves it
    (trained.models / ".partial-tiny" / "junk").write_text("x")
    shutil.move(trained.root, tmp_path / "moved")
    again = run(Square.open(tmp_path / "moved"), ExportConfig(run="tiny"))
    assert again.results["outputs"] == first.results["outputs"]


def test_a_full_disk_leaves_the_old_model(trained, monkeypatch):
    run(trained, ExportConfig(run="tiny"))
    before = receipts.sha256_of(trained.models / "tiny")
    anew = Square.open(trained.root, replace=True)

    def full(*_arguments, **_settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(gguf_files, "save", full)
        with pytest.raises(StorageError, match="disk is full"):
            run(anew, ExportConfig(run="tiny", gguf="f32"))
    assert receipts.sha256_of(trained.models / "tiny") == before
    assert run(anew, ExportConfig(run="tiny", gguf="f32")).results["outputs"]
    assert receipts.sha256_of(trained.models / "tiny") != before


def test_refusals(trained):
    with pytest.raises(StaleError, match="train chat"):
        run(trained, ExportConfig())
    for name in ("../out", "", "a/b", ".hidden"):
        with pytest.raises(ConfigError, match="named"):
            ExportConfig(run=name)
    weights = trained.runs / "tiny" / "checkpoints" / "step-0000002" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError, match="damaged"):
        run(trained, ExportConfig(run="tiny"))
    assert not (trained.models / "tiny").exists()


def test_a_run_s_vocabulary_stays_with_it(trained, monkeypatch):
    """The shards may be made anew with another vocabulary; the model keeps the one that it reads."""
    before = (tables.vocabulary_path(trained) / "tokenizer.json").read_bytes()
    anew = Square.open(trained.root, replace=True)
    make_shards(anew, monkeypatch, texts=posts(50, seed=8))
    assert (tables.vocabulary_path(trained) / "tokenizer.json").read_bytes() != before
    run(trained, ExportConfig(run="tiny"))
    assert (trained.models / "tiny" / "tokenizer.json").read_bytes() == before


def test_a_name_is_the_run_s_by_default():
    assert ExportConfig().model_name == "chat"
    assert dataclasses.replace(ExportConfig(), name="assistant").model_name == "assistant"
