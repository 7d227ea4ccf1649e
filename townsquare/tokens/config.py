"""Settings of the tokens stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from townsquare.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TokensConfig:
    """Which vocabulary, and how large the shard files are."""

    vocabulary_size: int = 8192
    """Tokens of the vocabulary that is trained on the corpus, special tokens included."""
    base: Path | None = None
    """A Hugging Face folder or GGUF file whose vocabulary is used instead of training one."""
    shard_rows: int = 65_536
    """Documents, conversations or preference pairs a shard file."""

    def __post_init__(self) -> None:
        if not 300 <= self.vocabulary_size <= 1 << 20:
            raise ConfigError(
                f"vocabulary_size cannot be {self.vocabulary_size}",
                remedy="Give 300 (256 bytes and the special tokens need that) to 1,048,576.",
            )
        if self.shard_rows < 1:
            raise ConfigError(f"shard_rows cannot be {self.shard_rows}", remedy="Give 1 or more.")
