"""Settings of the evaluate stage."""

from __future__ import annotations

import dataclasses
import re

from townsquare.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Which model is scored, and on how much."""

    model: str = "chat"
    """An exported model's name, a folder under models/."""
    questions: int = 50
    """How many of the town's questions are asked, of each kind: with an answer, and without."""
    seed: int = 1
    """Seed of the choice of questions and of the intervals."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.model):
            raise ConfigError(
                f"model cannot be {self.model!r}", remedy="Give the name of an exported model, a folder under models/."
            )
        if not 1 <= self.questions <= 100_000:
            raise ConfigError(f"questions cannot be {self.questions}", remedy="Give 1 to 100,000.")
