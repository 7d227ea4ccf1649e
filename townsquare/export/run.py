"""The export stage: a run's last checkpoint -> a model folder for transformers, llama.cpp and people."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from townsquare import receipts
from townsquare.export.card import model_card
from townsquare.export.config import ExportConfig
from townsquare.model import adapters, gguf_files, huggingface
from townsquare.progress import progress
from townsquare.receipts import Receipt
from townsquare.square import Square, write_atomically, write_json
from townsquare.train import tables

PARTS = 4


def run(square: Square, config: ExportConfig) -> Receipt:
    """Write `models/NAME`. Raises StaleError when the run has not ended, InputError for a damaged checkpoint."""
    trained = receipts.need(square, "train", config.run)
    name = config.model_name
    with receipts.stage(square, "export", inputs=[receipts.as_input(trained)], config=config, name=name) as work:
        if work.done:
            return work.done
        partial = square.models / f".partial-{name}"
        shutil.rmtree(partial, ignore_errors=True)
        written = _write(square, config, trained, partial)
        final = square.models / name
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        work.results.update(
            model=name,
            run=config.run,
            parameters=written["parameters"],
            bytes=sum(path.stat().st_size for path in final.rglob("*") if path.is_file()),
            outputs={"model": receipts.sha256_of(final)},
        )
    return work.receipt


def _write(square: Square, config: ExportConfig, trained: Receipt, folder: Path) -> dict[str, Any]:
    """Everything of the model into `folder`; returns what export.json says."""
    vocabulary = tables.vocabulary_path(square, config.run)
    with progress(f"Exporting {config.model_name}", PARTS, "files") as bar:
        decoder, adapter = tables.load_adapted(square, config.run), tables.adapter_of(square, config.run)
        bar.advance(note="checkpoint read")
        if adapter is not None:
            adapters.save_folder(decoder, folder / "adapter", base=adapter["base"])
            adapters.merge(decoder)
        huggingface.save_folder(decoder, vocabulary, folder)
        bar.advance(note="model.safetensors")
        gguf_files.save(decoder, vocabulary, folder / "model.gguf", name=config.model_name, number_type=config.gguf)
        bar.advance(note="model.gguf")
        record = {
            "name": config.model_name,
            "run": config.run,
            "run_fingerprint": trained.fingerprint,
            "parameters": sum(weight.numel() for weight in decoder.parameters()),
            "files": {
                path.relative_to(folder).as_posix(): receipts.sha256_of(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        card = model_card(square, config.model_name, trained, decoder.config, record)
        write_atomically(folder / "README.md", card.encode())
        write_json(folder / "export.json", record)
        bar.advance(note="README.md")
    return record
