"""Rotary scaling: how a decoder's frequencies are stretched so that it reads further than it first learned to.

The three kinds that Llama and Qwen3 configs carry, each written as transformers computes it, in float32. A frequency
tensor is (D / 2,), in radians a position, fastest first, for heads D wide. Only tensor methods are used: torch need
not load to read a config.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from townsquare.errors import ConfigError, InputError

Tensor = Any
"""A torch.Tensor."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """Every position divided by `factor` (Chen et al., 2023, arXiv 2306.15595)."""

    kind: ClassVar[str] = "linear"

    factor: float
    """How many times further it reads."""

    def frequencies(self, plain: Tensor, theta: float) -> Tensor:
        """The stretched frequencies."""
        return plain / self.factor

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Llama3:
    """Slow frequencies divided by `factor`, fast ones left, a ramp between (Llama 3.1, arXiv 2407.21783)."""

    kind: ClassVar[str] = "llama3"

    factor: float
    """How many times further it reads."""
    original_max_position_embeddings: int
    """The longest sequence it first learned on, in tokens."""
    low_freq_factor: float = 1.0
    """A frequency is slow when it turns fewer times than this in that length."""
    high_freq_factor: float = 4.0
    """A frequency is fast when it turns more often than this in that length."""

    def __post_init__(self) -> None:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ConfigError(
                f"high_freq_factor cannot be {self.high_freq_factor} with low_freq_factor {self.low_freq_factor}",
                remedy="Make it the greater of the two.",
            )

    def frequencies(self, plain: Tensor, theta: float) -> Tensor:
        """The stretched frequencies."""
        length = self.original_max_position_embeddings
        wavelength = 2 * math.pi / plain
        smooth = (length / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        between = (1 - smooth) * plain / self.factor + smooth * plain
        slow = (plain / self.factor).where(wavelength > length / self.low_freq_factor, between)
        return plain.where(wavelength < length / self.high_freq_factor, slow)

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Yarn:
    """A ramp over the dimensions, and sharper attention (Peng et al., 2023, arXiv 2309.00071)."""

    kind: ClassVar[str] = "yarn"

    factor: float
    """How many times further it reads."""
    original_max_position_embeddings: int
    """The longest sequence it first learned on, in tokens."""
    beta_fast: float = 32.0
    """A frequency that turns more often than this in that length is left alone."""
    beta_slow: float = 1.0
    """A frequency that turns fewer times than this in that length is divided by `factor`."""
    attention_factor: float | None = None
    """What cosines and sines are multiplied by; None: 0.1 ln(factor) + 1, as the paper advises."""

    def frequencies(self, plain: Tensor, theta: float) -> Tensor:
        """The stretched frequencies."""
        head_dim = 2 * len(plain)
        first = max(math.floor(self._dimension(self.beta_fast, head_dim, theta)), 0)
        last = min(math.ceil(self._dimension(self.beta_slow, head_dim, theta)), head_dim - 1)
        number = plain.new_ones(len(plain)).cumsum(0) - 1
        kept = 1 - ((number - first) / (max(last - first, 0.001))).clamp(0, 1)
        return 1 / (self.factor * (1 / plain)) * (1 - kept) + plain * kept

    def _dimension(self, turns: float, head_dim: int, theta: float) -> float:
        """Which frequency turns `turns` times in the original length."""
        length = self.original_max_position_embeddings
        return head_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    @property
    def default_magnitude(self) -> float:
        """The paper's advice for `attention_factor`."""
        return 0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return self.default_magnitude if self.attention_factor is None else self.attention_factor


Scaling = Linear | Llama3 | Yarn
KINDS: dict[str, type[Scaling]] = {kind.kind: kind for kind in (Linear, Llama3, Yarn)}
NOT_BUILT = {"partial_rotary_factor": 1.0, "mscale": None, "mscale_all_dim": None, "truncate": True}
"""Parameters of other families, each with the value at which it changes nothing."""


def to_record(scaling: Scaling) -> dict[str, Any]:
    """Plain values, as `rope_parameters` in `config.json` has them; what is None is left out."""
    values = {key: value for key, value in dataclasses.asdict(scaling).items() if value is not None}
    return {"rope_type": scaling.kind, **values}


def from_record(record: dict[str, Any], longest: int, place: str | None = None) -> Scaling | None:
    """The scaling that `rope_parameters` or `rope_scaling` names, or None where it names none.

    `longest` stands for an original length that is not given. Raises InputError for a kind we do not build.
    """
    name = record.get("rope_type", record.get("type", "default"))
    if name == "default":
        return None
    if name not in KINDS:
        raise InputError(
            f"rotary scaling {name!r} cannot be read", place=place, remedy=f"Use one of: {', '.join(KINDS)}."
        )
    odd = [key for key, neutral in NOT_BUILT.items() if record.get(key, neutral) != neutral]
    if odd:
        raise InputError(
            f"rotary scaling {name!r} with {odd[0]} cannot be read", place=place, remedy="Use a model without it."
        )
    kind = KINDS[name]
    known = {field.name for field in dataclasses.fields(kind)}
    values = {key: value for key, value in record.items() if key in known and value is not None}
    if "original_max_position_embeddings" in known:
        values.setdefault("original_max_position_embeddings", longest)
    if not values.get("factor", 0) >= 1:
        raise InputError(f"rotary scaling {name!r} needs a factor of 1 or more", place=place, remedy="Mend the config.")
    return kind(**values)
