"""Settings of the export stage."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from townsquare.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which run becomes a model, and under which name."""

    run: str = "chat"
    """The training run whose last checkpoint is exported."""
    name: str | None = None
    """The model's name, a folder under models/; by default the run's."""
    gguf: Literal["f16", "f32", "q8_0"] = "f16"
    """Number type of the matrices in model.gguf, which llama.cpp serves; q8_0 takes half of f16's bytes."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.model_name):
            raise ConfigError(
                f"a model cannot be named {self.model_name!r}", remedy="Use letters, digits, dots and dashes."
            )

    @property
    def model_name(self) -> str:
        """The model's name, derived where it is not given."""
        return self.name or self.run
