"""Settings of the evaluate stage, and of the comparison of two models."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from townsquare.errors import ConfigError

GGUF = ".gguf"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Which model is scored, on what and on how much."""

    model: str = "chat"
    """An exported model's name, a folder under models/; or the path of a GGUF file."""
    tasks: tuple[str, ...] = ()
    """Only these tasks; by default all whose needs are there."""
    questions: int = 50
    """How many questions, posts or probes each task takes, of each kind."""
    task_data: Path | None = None
    """The folder with the files of the standard tasks: arc_easy_test.jsonl, gsm8k_test.jsonl, mmlu_test.tar.gz."""
    seed: int = 1
    """Seed of the choice of questions and of the intervals."""

    def __post_init__(self) -> None:
        checked_name(self.model)
        if not 1 <= self.questions <= 100_000:
            raise ConfigError(f"questions cannot be {self.questions}", remedy="Give 1 to 100,000.")

    @property
    def name(self) -> str:
        """What the scores are kept under: the exported model's name, or the file's without its ending."""
        return name_of(self.model)


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Which two models are set side by side. Both have been evaluated."""

    model: str
    """The model that may be better: differences are its score less the other's."""
    other: str
    """The model that it is held against."""
    seed: int = 1
    """Seed of the intervals."""

    def __post_init__(self) -> None:
        checked_name(self.model)
        checked_name(self.other)
        if name_of(self.model) == name_of(self.other):
            raise ConfigError("a model cannot be compared with itself", remedy="Name two models.")


def name_of(model: str) -> str:
    return Path(model).stem if model.endswith(GGUF) else model


def checked_name(model: str) -> None:
    """Raise ConfigError where this is neither an exported model's name nor the path of a GGUF file."""
    if not re.fullmatch(r"\w[\w.-]*", name_of(model)):
        raise ConfigError(
            f"model cannot be {model!r}",
            remedy="Give the name of an exported model, a folder under models/, or the path of a GGUF file.",
        )
