"""Shapes: parameters and FLOPs against published counts and arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from townsquare.dial import dial
from townsquare.errors import InputError
from townsquare.fleet.runs import published
from townsquare.fleet.shape import Shape, from_huggingface, from_model, read_huggingface
from townsquare.model.cost import parameters, training_flops_per_token

LLAMA_3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
LLAMA_3_70B = LLAMA_3_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "tie_word_embeddings": False,
}
GPT_2 = {"model_type": "gpt2", "n_embd": 1600, "n_head": 25, "n_layer": 48, "vocab_size": 50257}


@pytest.mark.parametrize(
    ("record", "billions", "active"),
    [
        (LLAMA_3_8B, 8.03, 8.03),
        (LLAMA_3_70B, 70.55, 70.55),
        (DEEPSEEK_V3, 671.0, 37.6),  # the report counts 37 active without the embedding look-up
        (GPT_2, 1.557, 1.557),
    ],
)
def test_published_parameter_counts(record: dict[str, object], billions: float, active: float) -> None:
    shape = from_huggingface(record)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.003)
    assert shape.active_parameters / 1e9 == pytest.approx(active, rel=0.01)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("deepseekv3", 671), ("kimik2", 1026), ("qwen330ba3b", 30.5), ("qwen3235ba22b", 235), ("gptoss120b", 117)],
)
def test_shapes_that_rows_name(name: str, billions: float) -> None:
    assert published()[name].parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_flops_by_hand() -> None:
    # One layer of width 4, one head of 4, block of 8 with three matrices, 10 tokens known, sequences of 16.
    shape = Shape(layers=1, hidden=4, heads=1, kv_heads=1, head_dim=4, vocabulary=10, mlp_width=8)
    matrices = 4 * 4 * 4 + 3 * 4 * 8 + 10 * 4  # attention 64, block 96, output 40
    scores = 12 * 1 * 4 * 16  # 12 L h s
    assert shape.training_flops_per_token(16) == 6 * matrices + scores
    assert shape.training_flops_per_token(16, causal=True) == 6 * matrices + scores / 2


def test_it_agrees_with_our_own_decoders_arithmetic() -> None:
    for size in ("6M", "350M", "7B"):
        model = dial(size, vocabulary_size=8192, available_tokens=10**12).model
        shape, counts = from_model(model), parameters(model)
        assert shape.parameters == counts.total - counts.norms
        assert shape.training_flops_per_token(512) == training_flops_per_token(model, 512)


def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        read_huggingface(tmp_path)
    file = tmp_path / "config.json"
    file.write_text("[]")
    with pytest.raises(InputError, match="not JSON"):
        read_huggingface(tmp_path)
    file.write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    with pytest.raises(InputError, match="num_attention_heads"):
        read_huggingface(file)
    file.write_text(json.dumps(LLAMA_3_8B))
    assert read_huggingface(tmp_path).layers == 32
