"""The vocabulary: byte-level BPE, trained on the corpus or taken from a base model, and its fast encoder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, trainers

from townsquare.errors import InputError
from townsquare.model.chat import SPECIAL_TOKENS
from townsquare.square import write_atomically, write_json

LONGEST = 2048


def train_vocabulary(texts: Iterable[str], size: int, folder: Path) -> None:
    """Train a byte-level BPE on `texts` and write it as a Hugging Face tokenizer folder."""
    from tokenizers import pre_tokenizers

    from townsquare.model import gguf_files  # here, for it brings torch, which a takedown has no use for

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = gguf_files.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _write(tokenizer, folder)


def copy_vocabulary(base: Path, folder: Path) -> None:
    """Write a base model's vocabulary as a Hugging Face tokenizer folder. Raises InputError."""
    from townsquare.model import gguf_files
    from townsquare.model.huggingface import TOKENIZER_FILES

    if base.suffix == ".gguf":
        _write(gguf_files.read_tokenizer(base), folder)
        return
    if not (base / "tokenizer.json").is_file():
        raise InputError(
            "the base has no tokenizer.json", place=str(base), remedy="Give a Hugging Face folder or a GGUF file."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    missing = [token for token in SPECIAL_TOKENS if load(folder).token_to_id(token) is None]
    if missing:
        raise InputError(
            f"the base's vocabulary has no {', '.join(missing)}",
            place=str(base),
            remedy="Use a base whose chat format is ChatML, such as SmolLM2 or Qwen3.",
        )


def _write(tokenizer: Tokenizer, folder: Path) -> None:
    from townsquare.model.huggingface import tokenizer_config

    write_atomically(folder / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    write_json(folder / "tokenizer_config.json", tokenizer_config(LONGEST))


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a vocabulary folder, set so that users' text never yields a special token."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def size_of(folder: Path) -> int:
    """Ids that the vocabulary uses: one past the highest."""
    return int(load(folder).get_vocab_size(with_added_tokens=True))


class Encoder:
    """Text to ids by kitoken, whose ids are those of `tokenizers` and which is faster.

    A vocabulary that kitoken cannot take, or a text on which the two could differ, goes to `tokenizers`.
    """

    def __init__(self, folder: Path) -> None:
        from kitoken import Kitoken

        self._exact = load(folder)
        self._special = re.compile("|".join(re.escape(token["content"]) for token in _added(folder)))
        known = {token["content"]: token["id"] for token in _added(folder)}
        self.special_ids: dict[str, int] = {token: known[token] for token in SPECIAL_TOKENS}
        self._fast = Kitoken.from_tokenizers_file(str(folder / "tokenizer.json"))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """One list of ids a text; special tokens' spellings are encoded as plain text."""
        ids: list[list[int]] = self._fast.encode_all(list(texts), False)
        for i, text in enumerate(texts):
            if self._special.search(text):
                ids[i] = self._exact.encode(text, add_special_tokens=False).ids
        return ids


def _added(folder: Path) -> list[dict[str, Any]]:
    record = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return list(record["added_tokens"])


_PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(0x100) if byte not in _PRINTED)
_BYTE_OF = {chr(byte): byte for byte in _PRINTED} | {chr(0x100 + i): byte for i, byte in enumerate(_OTHERS)}
"""The byte-level alphabet: every byte is one character."""


def token_bytes(folder: Path) -> list[bytes]:
    """The UTF-8 bytes that each id stands for; none for special tokens."""
    tokenizer = load(folder)
    special = {token["id"] for token in _added(folder)}
    texts = [None if i in special else tokenizer.id_to_token(i) for i in range(size_of(folder))]
    return [bytes(_BYTE_OF[character] for character in text or "") for text in texts]


def token_lengths(folder: Path) -> list[int]:
    """UTF-8 bytes that each id stands for; 0 for special tokens."""
    return [len(token) for token in token_bytes(folder)]
