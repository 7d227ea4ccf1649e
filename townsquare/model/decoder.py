"""The decoder: a Llama- and Qwen3-compatible transformer whose weights bear Hugging Face's names.

Shapes are written with B rows, T positions, H query heads, K key and value heads, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from townsquare.model.config import ModelConfig

Cache = list[tuple[Tensor, Tensor]]
"""One (keys, values) pair a layer, each (B, K, T so far, D)."""


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang and Sennrich, 2019, arXiv 1910.07467), in float32 inside."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        exact = x if x.dtype == torch.float64 else x.float()
        scale = torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return (exact * scale * self.weight).to(x.dtype)


def plain_frequencies(head_dim: int, theta: float, device: torch.device | None = None) -> Tensor:
    """Radians a position of each rotated pair (D / 2,), before any scaling, in float32."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    return 1.0 / theta**exponent


def rotary_tables(positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines (…, T, D) for integer positions (…, T) (Su et al., 2021, arXiv 2104.09864)."""
    frequencies, magnitude = plain_frequencies(config.head_dim, config.rope_theta, positions.device), 1.0
    if config.rope_scaling is not None:
        frequencies = config.rope_scaling.frequencies(frequencies, config.rope_theta)
        magnitude = config.rope_scaling.magnitude
    angles = positions[..., None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * magnitude, angles.sin() * magnitude


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads (B, H, T, D) by tables (B, 1, T, D); the halves pair up, as Hugging Face stores them."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al., 2023, arXiv 2305.13245)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.head_dim = config.hidden_size, config.head_dim
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.grouped = heads != kv_heads
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (B, T, width) -> the same shape, and the keys and values so far.

        `mask` (B, 1, T, T so far) is true where a position may look; None means plainly causal.
        """
        batch, length, _ = x.shape
        # As many heads as the projections give: under tensor parallelism a process has some of them.
        q = self.q_proj(x).view(batch, length, -1, self.head_dim)
        k = self.k_proj(x).view(batch, length, -1, self.head_dim)
        v = self.v_proj(x).view(batch, length, -1, self.head_dim).transpose(1, 2)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        cos, sin = (table.to(q.dtype) for table in rotary)
        q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and length > 1, enable_gqa=self.grouped
        )
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1)), (k, v)


class MLP(nn.Module):
    """SwiGLU (Shazeer, 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer: attention, then SwiGLU, each behind a norm and added to the stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        attended, present = self.self_attn(self.input_layernorm(x), rotary, mask, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Stack(nn.Module):
    """Embedding, blocks and the last norm: what Hugging Face calls `model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Decoder(nn.Module):
    """The whole model. `state_dict()` has the names that transformers writes for the same family."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Stack(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def init_weights(self, generator: torch.Generator) -> None:
        """Normal(0, 1/sqrt(fan in)) matrices, with the two that write into the stream scaled by 1/sqrt(2 L).

        The scaling by depth is GPT-2's (Radford et al., 2019); the embedding's deviation is 0.02, as there.
        """
        depth_scale = (2 * self.config.num_hidden_layers) ** -0.5
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim < 2:
                    weight.fill_(1.0)
                elif "embed_tokens" in name or "lm_head" in name:
                    weight.normal_(0.0, 0.02, generator=generator)
                else:
                    scale = depth_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                    weight.normal_(0.0, scale * weight.shape[1] ** -0.5, generator=generator)

    def hidden(self, ids: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The last norm's output (B, T, width) for ids (B, T).

        `positions` (B, T) restart in every packed document; `mask` (B, 1, T, T) keeps documents apart.
        """
        return self._run(ids, positions, mask, None)[0]

    def forward(self, ids: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits (B, T, vocabulary) for ids (B, T)."""
        logits: Tensor = self.lm_head(self.hidden(ids, positions, mask))
        return logits

    def _run(
        self, ids: Tensor, positions: Tensor | None, mask: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, Cache]:
        start = cache[0][0].shape[2] if cache else 0
        if positions is None:
            positions = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
        rotary = rotary_tables(positions[:, None], self.config)
        x = self.model.embed_tokens(ids)
        present: Cache = []
        for number, block in enumerate(self.model.layers):
            x, kept = block(x, rotary, mask, cache[number] if cache else None)
            present.append(kept)
        return self.model.norm(x), present

    @torch.no_grad()
    def generate(self, ids: list[int], *, max_tokens: int, stop: frozenset[int] = frozenset()) -> list[int]:
        """The greedy continuation of `ids`: at most `max_tokens` ids, ending before a stop id."""
        device = self.lm_head.weight.device
        feed, cache, out = torch.tensor([ids], device=device), None, []
        for _ in range(max_tokens):
            hidden, cache = self._run(feed, None, None, cache)
            token = int(self.lm_head(hidden[:, -1]).argmax())
            if token in stop:
                break
            out.append(token)
            feed = torch.tensor([[token]], device=device)
        return out
