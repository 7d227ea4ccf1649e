"""The decoder's shape, in the words of Hugging Face's Llama and Qwen3 configs."""

from __future__ import annotations

import dataclasses
from typing import Any

from townsquare.errors import ConfigError, InputError
from townsquare.model import rope


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer: grouped-query attention, rotary positions, RMSNorm, SwiGLU."""

    vocab_size: int
    """Rows of the embedding."""
    hidden_size: int
    """Width of the residual stream."""
    intermediate_size: int
    """Width inside the SwiGLU block."""
    num_hidden_layers: int
    """Blocks."""
    num_attention_heads: int
    """Query heads."""
    num_key_value_heads: int
    """Key and value heads; divides the query heads."""
    head_dim: int
    """Width of a head; even, for rotation acts on pairs."""
    max_position_embeddings: int = 2048
    """Longest sequence, in tokens."""
    rope_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    rope_scaling: rope.Scaling | None = None
    """How the rotary frequencies are stretched to read further."""
    rms_norm_eps: float = 1e-5
    """Added to the mean square before the root."""
    tie_word_embeddings: bool = True
    """Whether the output projection is the embedding."""
    qk_norm: bool = False
    """RMSNorm on each query and key head, as in Qwen3."""

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads cannot be {self.num_attention_heads} "
                f"with {self.num_key_value_heads} key and value heads",
                remedy="Make it a multiple of num_key_value_heads.",
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim cannot be {self.head_dim}", remedy="Make it even.")

    def to_huggingface(self) -> dict[str, Any]:
        """The content of `config.json`, as transformers reads it."""
        record = dataclasses.asdict(self)
        qk_norm = record.pop("qk_norm")
        del record["rope_scaling"]
        scaling = {"rope_type": "default"} if self.rope_scaling is None else rope.to_record(self.rope_scaling)
        return record | {
            "architectures": ["Qwen3ForCausalLM" if qk_norm else "LlamaForCausalLM"],
            "model_type": "qwen3" if qk_norm else "llama",
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "torch_dtype": "float32",
            "rope_parameters": {**scaling, "rope_theta": self.rope_theta},
        }

    def to_record(self) -> dict[str, Any]:
        """Plain values, as a run keeps them beside its checkpoints."""
        scaling = None if self.rope_scaling is None else rope.to_record(self.rope_scaling)
        return {**dataclasses.asdict(self), "rope_scaling": scaling}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_record`."""
        scaling = rope.from_record(record.get("rope_scaling") or {}, record["max_position_embeddings"])
        return cls(**{**record, "rope_scaling": scaling})

    @classmethod
    def from_huggingface(cls, record: dict[str, Any], place: str | None = None) -> ModelConfig:
        """From the content of `config.json`. Raises InputError for another family or a part we do not build."""
        family = record.get("model_type")
        if family not in ("llama", "qwen3"):
            raise InputError(f"a model of type {family!r} cannot be read", place=place, remedy="Use llama or qwen3.")
        rotary = record.get("rope_parameters") or record.get("rope_scaling") or {}
        longest = record.get("max_position_embeddings", 2048)
        if record.get("attention_bias") or record.get("mlp_bias"):
            raise InputError("a model with bias terms cannot be read", place=place, remedy="Use one without biases.")
        heads = record["num_attention_heads"]
        theta = record.get("rope_theta") or rotary.get("rope_theta") or 10_000.0
        return cls(
            vocab_size=record["vocab_size"],
            hidden_size=record["hidden_size"],
            intermediate_size=record["intermediate_size"],
            num_hidden_layers=record["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=record.get("num_key_value_heads") or heads,
            head_dim=record.get("head_dim") or record["hidden_size"] // heads,
            max_position_embeddings=longest,
            rope_theta=float(theta),
            rope_scaling=rope.from_record(rotary, longest, place),
            rms_norm_eps=record.get("rms_norm_eps", 1e-6),
            tie_word_embeddings=record.get("tie_word_embeddings", False),
            qk_norm=family == "qwen3",
        )
