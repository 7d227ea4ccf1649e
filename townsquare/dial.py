"""The one size knob: from a parameter budget to every training setting, each with its source.

Pure arithmetic. `dial("6M").explain()` prints how each setting came about.
"""

from __future__ import annotations

import dataclasses
import re

from townsquare.errors import ConfigError
from townsquare.model.config import ModelConfig
from townsquare.model.cost import parameters

HEAD_DIM = 64
ASPECT = 64  # width per layer
SEQUENCE_LENGTH_SMALL, SEQUENCE_LENGTH_LARGE = 256, 2048
SMALL_PARAMETERS = 50_000_000
MANY_GPUS_PARAMETERS = 10_000_000_000
PREFERENCE_RATE_DIVISOR = 160
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclasses.dataclass(frozen=True)
class Dial:
    """Everything that follows from one size. `learning_rate` is the peak; batches are counted in tokens."""

    size: str
    model: ModelConfig
    matrix_parameters: int
    sequence_length: int
    tokens_per_step: int
    training_tokens: int
    steps: int
    warmup_steps: int
    decay_steps: int
    learning_rate: float
    weight_decay: float
    reasons: tuple[tuple[str, str, str], ...]

    def explain(self) -> list[tuple[str, str, str]]:
        """(setting, value, formula and source) a row."""
        return list(self.reasons)


def parameters_of(size: str) -> int:
    """A size such as "6M" or "1.5B" as a number of parameters. Raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMBT])", size.strip().upper())
    if match is None:
        raise ConfigError(f"size cannot be {size!r}", remedy="Write a number of parameters such as 6M, 350M or 1B.")
    return int(float(match[1]) * UNITS[match[2]])


def dial(size: str, *, vocabulary_size: int, available_tokens: int, epochs: int = 4) -> Dial:
    """Derive shape and settings for a budget of parameters in the blocks' matrices, embeddings not counted.

    `available_tokens` is what the shards hold. Data that is seen again is worth as much as new data for up
    to about four epochs (Muennighoff et al., 2023, arXiv 2305.16264), hence the default of `epochs`.
    Raises ConfigError for a size that is no number or cannot be built.
    """
    layers, width = _shape(parameters_of(size))
    heads = width // HEAD_DIM
    model = ModelConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=max(round(width * 8 / 3 / 64), 1) * 64,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=next(n for n in range(max(heads // 4, 1), heads + 1) if heads % n == 0),
        head_dim=HEAD_DIM,
    )
    shape = (
        (
            "layers × width",
            f"{layers} × {width}",
            f"nearest to {size} = 12 layers width², width about {ASPECT} a layer",
        ),
        ("heads", f"{heads}, {model.num_key_value_heads} for keys and values", f"{HEAD_DIM} wide; at most 4 to a key"),
        ("inside SwiGLU", f"{model.intermediate_size}", "8/3 width, equal parameters (Shazeer, arXiv 2002.05202)"),
    )
    return dial_for(model, size=size, available_tokens=available_tokens, epochs=epochs, reasons=shape)


def dial_for(
    model: ModelConfig,
    *,
    size: str,
    available_tokens: int,
    epochs: int,
    reasons: tuple[tuple[str, str, str], ...] = (),
) -> Dial:
    """Derive the settings for a model whose shape is given, such as a base that training continues from."""
    count = parameters(model)
    matrices = count.attention + count.mlp
    length = SEQUENCE_LENGTH_SMALL if matrices < SMALL_PARAMETERS else SEQUENCE_LENGTH_LARGE
    optimal = 20 * matrices
    tokens = min(optimal, epochs * available_tokens)
    batch = max(round(0.58 * tokens**0.571 / length), 16) * length
    steps = max(tokens // batch, 20)
    rate = float(1.79 * matrices**-0.713 * tokens**0.307)
    warmup, decay = max(steps // 50, 5), max(steps // 2, 1)
    training = (
        (
            "training tokens",
            f"{tokens:,}",
            f"least of 20 a parameter (Chinchilla, arXiv 2203.15556) and {epochs} epochs (arXiv 2305.16264)",
        ),
        ("tokens a step", f"{batch:,}", "0.58 D^0.571 (Li et al., Step Law, arXiv 2503.04715), at least 16 rows"),
        ("steps", f"{steps:,}", "training tokens over tokens a step, at least 20"),
        ("warm-up", f"{warmup} steps", "2 %, at least 5"),
        ("decay", f"{decay} steps", "linear to zero over the last half (warm-up, stable, decay: arXiv 2404.06395)"),
        (
            "learning rate",
            f"{rate:.2e}",
            "1.79 N^-0.713 D^0.307 (Step Law); Muon's scaled to AdamW's (arXiv 2502.16982)",
        ),
        ("weight decay", "0.1", "as in GPT-3 (arXiv 2005.14165)"),
    )
    return Dial(
        size=size,
        model=model,
        matrix_parameters=matrices,
        sequence_length=length,
        tokens_per_step=batch,
        training_tokens=steps * batch,
        steps=steps,
        warmup_steps=warmup,
        decay_steps=decay,
        learning_rate=rate,
        weight_decay=0.1,
        reasons=reasons + training,
    )


def for_preferences(settings: Dial) -> Dial:
    """The settings for preference tuning: a row holds two sequences, and the rate is far lower."""
    rate = settings.learning_rate / PREFERENCE_RATE_DIVISOR
    return dataclasses.replace(
        settings,
        sequence_length=2 * settings.sequence_length,
        learning_rate=rate,
        reasons=(
            *settings.reasons,
            (
                "learning rate for preferences",
                f"{rate:.2e}",
                f"1/{PREFERENCE_RATE_DIVISOR}, as DPO's (arXiv 2305.18290) to Pythia 2.8B's own (arXiv 2304.01373)",
            ),
        ),
    )


def _shape(budget: int) -> tuple[int, int]:
    """Layers and width nearest to the budget, at 12 layers width² and a width of 64 a layer or a little off it."""
    # Models that take many GPUs are divided among them: heads in eights and layers in fours leave equal parts.
    heads_by, layers_by = (8, 4) if budget > MANY_GPUS_PARAMETERS else (1, 1)
    choices = [
        (layers, heads * HEAD_DIM)
        for layers in range(max(layers_by, 2), 209, layers_by)
        for heads in range(max(heads_by, 2), 313, heads_by)
        if 0.75 <= heads * HEAD_DIM / (ASPECT * layers) <= 1.5
    ]
    best = min(choices, key=lambda shape: (abs(12 * shape[0] * shape[1] ** 2 - budget), shape))
    if abs(12 * best[0] * best[1] ** 2 - budget) > budget / 2:
        raise ConfigError(f"a size of {budget:,} parameters cannot be built", remedy="Choose from 400K to 1T.")
    return best
