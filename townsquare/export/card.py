"""The model card: what the model learned from, how, how well, and what it must not be taken for."""

from __future__ import annotations

from typing import Any

from townsquare import receipts
from townsquare.consent.grants import read_grants
from townsquare.model.config import ModelConfig
from townsquare.receipts import Receipt
from townsquare.square import Square

CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A language model of {parameters:,} parameters that the run `{run}` trained on a square's posts with townsquare.

## Data

{data}

## Shape

{shape}

## Training

{training}

## Figures

{figures}

## Limits

- It repeats what people posted, mistakes included. Use it with retrieved posts and check what it cites.
- Not unlearning: a takedown removes posts from every copy and every later build, but weights that saw them before
  keep traces until they are trained anew. `townsquare takedown` names the runs that saw a post.
- Not a licence: it may be used only as far as the grants above allow.

## Use

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(".")
    tokenizer = AutoTokenizer.from_pretrained(".")

`model.gguf` is the same model for llama.cpp. Turns are ChatML; the template is in `tokenizer_config.json`.
"""


def model_card(square: Square, name: str, trained: Receipt, model: ModelConfig, record: dict[str, Any]) -> str:
    """README.md of a model. It holds no time and no path, so that the same run gives the same card."""
    return CARD.format(
        name=name,
        run=record["run"],
        parameters=record["parameters"],
        data=_bullets(_data(square, trained)),
        shape=_bullets([(key, value) for key, value in model.to_huggingface().items() if key in SHAPE]),
        training="\n\n".join(f"### {run.name}\n\n{_bullets(_training(run))}" for run in _runs(square, trained)),
        figures=_bullets(_figures(trained)),
    )


SHAPE = (
    "model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings",
)  # fmt: skip


def _bullets(rows: list[tuple[str, Any]]) -> str:
    return "\n".join(f"- {label.replace('_', ' ')}: {_text(value)}" for label, value in rows)


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _runs(square: Square, trained: Receipt) -> list[Receipt]:
    """The run and those it started from, first one first."""
    return [r for r in reversed(receipts.sources_of(receipts.read_all(square), trained)) if r.stage == "train"] + [
        trained
    ]


def _data(square: Square, trained: Receipt) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for receipt in receipts.sources_of(receipts.read_all(square), trained):
        if receipt.stage == "curate":
            rows += [(f"posts {key}", receipt.counts[key]) for key in ("seen", "kept") if key in receipt.counts]
            rows += [(f"dropped as {why}", n) for why, n in sorted(receipt.counts.get("dropped", {}).items())]
        elif receipt.stage == "tokens":
            rows.append(("documents and conversations", receipt.counts["kept"]))
            rows += [(f"tokens in {key}", n) for key, n in sorted(receipt.results["tokens"].items()) if n]
    grants = [f"{grant.id} ({', '.join(grant.purposes)})" for grant in read_grants(square) if not grant.revoked]
    rows.append(("grants in force", ", ".join(grants) or "none recorded in this square"))
    if trained.config.get("base"):
        rows.append(("base model, whose own data is not known here", trained.config["base"].rsplit("/", 1)[-1]))
    return rows


TRAINING = (
    "steps", "epochs", "tokens", "tokens_per_step", "sequence_length", "learning_rate", "number_type", "device",
    "skipped_steps",
)  # fmt: skip


def _training(run: Receipt) -> list[tuple[str, Any]]:
    rows = [(key, run.config[key]) for key in ("objective", "size", "seed")]
    return rows + [(key, run.results[key]) for key in TRAINING]


def _figures(trained: Receipt) -> list[tuple[str, Any]]:
    curve = trained.results["curve"]
    points = [curve[i * (len(curve) - 1) // 4] for i in range(5)]
    return [
        ("loss (nats a token) by step", ", ".join(f"{step:,}: {loss:.3f}" for step, loss in points)),
        ("mean loss of the last steps", trained.results["final_loss"]),
        ("bits per byte on held-out text", trained.results["validation_bits_per_byte"]),
    ]
