"""The shape of any decoder-only transformer, dense or mixture of experts: what its cost follows from."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from townsquare.errors import InputError
from townsquare.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Shape:
    """Counts and widths. Parameters count matrices and embeddings; norms and biases are below 0.1 % and left out."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    mlp_width: int
    """Inside a dense block."""
    gated: bool = True
    """SwiGLU and its like have three matrices a block, plain GELU two."""
    tied: bool = False
    """The output projection is the embedding."""
    experts: int = 0
    """Routed experts a layer; 0 is dense."""
    experts_per_token: int = 0
    expert_width: int = 0
    shared_width: int = 0
    """Width of the expert that every token passes."""
    dense_layers: int = 0
    """Layers of a mixture that have a dense block instead."""
    value_dim: int | None = None
    """Width of a value head where it differs from `head_dim`."""
    attention_matrices: int | None = None
    """Attention parameters a layer where low-rank projections make them differ from heads times widths."""

    @property
    def attention_parameters(self) -> int:
        """Of one layer."""
        if self.attention_matrices is not None:
            return self.attention_matrices
        return self.hidden * (2 * self.query_width + 2 * self.kv_heads * self.head_dim)

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def expert_layers(self) -> int:
        return self.layers - self.dense_layers if self.experts else 0

    def block(self, width: int) -> int:
        """Parameters of one feed-forward block of that width."""
        return (3 if self.gated else 2) * self.hidden * width

    @functools.cached_property
    def routed_parameters(self) -> int:
        """All routed experts of all layers."""
        return self.expert_layers * self.experts * self.block(self.expert_width)

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @functools.cached_property
    def parameters(self) -> int:
        """Everything that is trained."""
        return self.routed_parameters + self._outside_experts + self.embedding_parameters

    @functools.cached_property
    def active_parameters(self) -> int:
        """Those that one token passes, embeddings included."""
        routed = self.expert_layers * self.experts_per_token * self.block(self.expert_width)
        return routed + self._outside_experts + self.embedding_parameters

    @property
    def matrices_per_token(self) -> int:
        """Parameters that a token passes as a matrix product: all active ones but the embedding look-up."""
        return self.active_parameters - self.embedding_parameters + self.vocabulary * self.hidden

    @property
    def _outside_experts(self) -> int:
        dense = (self.layers - self.expert_layers) * self.block(self.mlp_width)
        routers = self.expert_layers * (self.experts * self.hidden + self.block(self.shared_width))
        return self.layers * self.attention_parameters + dense + routers

    def training_flops_per_token(self, sequence_length: int, *, causal: bool = False) -> float:
        """6 FLOPs a matrix parameter, and the attention scores: the full square, or the causal half of it.

        Without recomputation. The full square is PaLM's convention (arXiv 2204.02311, appendix B).
        """
        widths = self.heads * (self.head_dim + (self.value_dim or self.head_dim))
        scores = 6 * self.layers * widths * sequence_length
        return 6 * self.matrices_per_token + (scores / 2 if causal else scores)


def from_model(model: ModelConfig) -> Shape:
    """The shape of our own decoder."""
    return Shape(
        layers=model.num_hidden_layers,
        hidden=model.hidden_size,
        heads=model.num_attention_heads,
        kv_heads=model.num_key_value_heads,
        head_dim=model.head_dim,
        vocabulary=model.vocab_size,
        mlp_width=model.intermediate_size,
        tied=model.tie_word_embeddings,
    )


def read_huggingface(path: Path) -> Shape:
    """From a `config.json`, or the folder that holds it. Raises InputError when it is none or lacks a width."""
    file = path / "config.json" if path.is_dir() else path
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return from_huggingface(record)
    except OSError as error:
        raise InputError(
            f"no config.json to read: {error.strerror}", place=str(file), remedy="Mend the path."
        ) from None
    except (ValueError, AttributeError) as error:
        raise InputError(f"it is not JSON: {error}", place=str(file), remedy="Give a model's config.json.") from None
    except KeyError as error:
        raise InputError(
            f"the config lacks {error}", place=str(file), remedy="Give a decoder-only model's config.json."
        ) from None


GATED_NOT = ("gpt2", "gpt_neox", "opt", "bloom", "mpt", "falcon", "gpt_bigcode", "nemotron", "phi")  # two matrices


def from_huggingface(record: dict[str, Any]) -> Shape:
    """From the content of a `config.json`, by the names that transformers uses. Raises KeyError."""
    record = record.get("text_config") or record

    def first(*names: str) -> Any:
        return next((record[name] for name in names if record.get(name) is not None), None)

    hidden = first("hidden_size", "n_embd", "d_model")
    heads = first("num_attention_heads", "n_head", "n_heads")
    layers = first("num_hidden_layers", "n_layer", "n_layers")
    for name, value in (("hidden_size", hidden), ("num_attention_heads", heads), ("num_hidden_layers", layers)):
        if value is None:
            raise KeyError(name)
    experts = first("n_routed_experts", "num_local_experts", "num_experts") or 0
    dense_width = first("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden
    expert_width = (first("moe_intermediate_size") or dense_width) if experts else 0
    shared = first("shared_expert_intermediate_size") or (first("n_shared_experts") or 0) * expert_width
    dim = first("head_dim") or hidden // heads
    low_rank = record.get("kv_lora_rank") is not None
    return Shape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=first("num_key_value_heads") or heads,
        head_dim=record["qk_nope_head_dim"] + record["qk_rope_head_dim"] if low_rank else dim,
        value_dim=record["v_head_dim"] if low_rank else None,
        vocabulary=record["vocab_size"],
        mlp_width=dense_width,
        gated=record.get("model_type") not in GATED_NOT,
        tied=bool(record.get("tie_word_embeddings", record.get("model_type") == "gpt2")),
        experts=experts,
        experts_per_token=first("num_experts_per_tok", "num_experts_per_token") or 0,
        expert_width=expert_width,
        shared_width=shared if experts else 0,
        dense_layers=(first("first_k_dense_replace") or 0) if experts else 0,
        attention_matrices=_low_rank_attention(record, hidden, heads) if low_rank else None,
    )


def _low_rank_attention(record: dict[str, Any], hidden: int, heads: int) -> int:
    """Attention parameters a layer with latent projections, as in DeepSeek-V2 (arXiv 2405.04434, section 2.1)."""
    nope, rope, value = record["qk_nope_head_dim"], record["qk_rope_head_dim"], record["v_head_dim"]
    latent, query_latent = record["kv_lora_rank"], record.get("q_lora_rank")
    query = heads * (nope + rope)
    queries = query_latent * (hidden + query) if query_latent else hidden * query
    keys_values = hidden * (latent + rope) + latent * heads * (nope + value)
    return int(queries + keys_values + heads * value * hidden)
