"""What a decoder costs: parameters, FLOPs and bytes, by arithmetic alone."""

from __future__ import annotations

import dataclasses

from townsquare.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Parameter counts by part. `total` counts a tied embedding once."""

    embedding: int
    attention: int
    mlp: int
    norms: int
    output: int

    @property
    def total(self) -> int:
        return self.embedding + self.attention + self.mlp + self.norms + self.output

    @property
    def matrices(self) -> int:
        """Those that a token passes through as a matrix product: all but the embedding look-up and the norms."""
        return self.attention + self.mlp + (self.output or self.embedding)


def parameters(model: ModelConfig) -> Parameters:
    """Count the parameters of a decoder of that shape."""
    queries = model.num_attention_heads * model.head_dim
    keys = model.num_key_value_heads * model.head_dim
    attention = model.hidden_size * (2 * queries + 2 * keys)
    mlp = 3 * model.hidden_size * model.intermediate_size
    norms = 2 * model.hidden_size + (2 * model.head_dim if model.qk_norm else 0)
    layers = model.num_hidden_layers
    embedding = model.vocab_size * model.hidden_size
    return Parameters(
        embedding=embedding,
        attention=layers * attention,
        mlp=layers * mlp,
        norms=layers * norms + model.hidden_size,
        output=0 if model.tie_word_embeddings else embedding,
    )


def training_flops_per_token(model: ModelConfig, sequence_length: int) -> float:
    """FLOPs of forward and backward for one token: 6 N + 12 L h s, without recomputation.

    N counts the matrices that a token passes through, the output projection included. The attention
    term counts the full square, as PaLM's appendix B does (Chowdhery et al., 2022, arXiv 2204.02311);
    a causal kernel that skips half of it does less.
    """
    width = model.num_attention_heads * model.head_dim
    attention = 12 * model.num_hidden_layers * width * sequence_length
    return 6 * parameters(model).matrices + attention
