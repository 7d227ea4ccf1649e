"""The decoder against transformers' own classes of both families, and against itself."""

from __future__ import annotations

import json

import pytest
import torch

from townsquare.errors import ConfigError, InputError
from townsquare.model import rope
from townsquare.model.config import ModelConfig
from townsquare.model.cost import parameters, training_flops_per_token
from townsquare.model.decoder import Decoder


def shape_of(heads: int, kv_heads: int, head_dim: int, tied: bool) -> dict[str, int]:
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "tie_word_embeddings": tied,
    }


SHAPES = {
    "multi-head tied": shape_of(4, 4, 16, True),
    "grouped untied": shape_of(4, 2, 16, False),
    "one key head, wide": shape_of(3, 1, 32, True),
}


SCALINGS = {
    "linear": rope.Linear(4.0),
    "llama3": rope.Llama3(8.0, 64),
    "llama3 of its own": rope.Llama3(3.0, 48, low_freq_factor=0.5, high_freq_factor=6.0),
    "yarn": rope.Yarn(4.0, 16),
    "yarn of its own": rope.Yarn(2.5, 40, beta_fast=8.0, beta_slow=0.5, attention_factor=1.3),
}


def config_of(shape: str, *, qk_norm: bool, rope_scaling: rope.Scaling | None = None) -> ModelConfig:
    return ModelConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        max_position_embeddings=64,
        rope_theta=5000.0,
        qk_norm=qk_norm,
        rope_scaling=rope_scaling,
        **SHAPES[shape],
    )


def peer_of(config: ModelConfig) -> torch.nn.Module:
    """transformers' model of that shape with random weights."""
    import transformers

    family = (
        (transformers.Qwen3Config, transformers.Qwen3ForCausalLM)
        if config.qk_norm
        else (transformers.LlamaConfig, transformers.LlamaForCausalLM)
    )
    record = config.to_huggingface()
    del record["architectures"], record["torch_dtype"]
    torch.manual_seed(7)
    peer = family[1](family[0](**record, attn_implementation="eager"))
    with torch.no_grad():
        for weight in peer.parameters():
            weight.copy_(torch.randn_like(weight) * (0.2 if weight.ndim > 1 else 0.1) + (weight.ndim == 1))
    return peer.eval()


@pytest.mark.parametrize("qk_norm", [False, True], ids=["llama", "qwen3"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
def test_logits_and_gradients_are_those_of_transformers(shape, qk_norm, kind, tolerance):
    same_as_transformers(config_of(shape, qk_norm=qk_norm), kind, tolerance)


@pytest.mark.parametrize("qk_norm", [False, True], ids=["llama", "qwen3"])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
def test_scaled_positions_are_those_of_transformers(scaling, qk_norm, kind, tolerance):
    config = config_of("one key head, wide", qk_norm=qk_norm, rope_scaling=SCALINGS[scaling])
    same_as_transformers(config, kind, tolerance, length=60)
    ids = torch.arange(60)[None]
    scaled, plain = Decoder(config), Decoder(config_of("one key head, wide", qk_norm=qk_norm))
    scaled.init_weights(torch.Generator().manual_seed(1))
    plain.load_state_dict(scaled.state_dict())
    assert (scaled(ids) - plain(ids)).abs().max() > 1e-3, "a scaling that changes nothing would pass too"


def same_as_transformers(config: ModelConfig, kind: torch.dtype, tolerance: float, length: int = 20) -> None:
    peer = peer_of(config).to(kind)
    ours = Decoder(config).to(kind)
    ours.load_state_dict(peer.state_dict())
    ids = torch.randint(0, 97, (3, length), generator=torch.Generator().manual_seed(1))
    direction = torch.randn(3, length, 97, dtype=kind, generator=torch.Generator().manual_seed(2))
    theirs_out, ours_out = peer(ids).logits, ours(ids)
    assert (theirs_out - ours_out).abs().max() < tolerance
    (theirs_out * direction).mean().backward()
    (ours_out * direction).mean().backward()
    gradients = dict(peer.named_parameters())
    for name, weight in ours.named_parameters():
        assert (weight.grad - gradients[name].grad).abs().max() < tolerance, name


def test_the_names_of_weights_are_those_of_transformers():
    for qk_norm in (False, True):
        config = config_of("grouped untied", qk_norm=qk_norm)
        assert set(Decoder(config).state_dict()) == set(peer_of(config).state_dict())


@pytest.mark.parametrize("qk_norm", [False, True])
def test_packed_documents_do_not_see_each_other(qk_norm):
    from townsquare.train.data import Documents, Piece, batch_of
    from townsquare.train.loop import attention_mask

    decoder = Decoder(config_of("grouped untied", qk_norm=qk_norm)).double()
    decoder.init_weights(torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(4)
    texts = [torch.randint(0, 97, (n,), generator=rng) for n in (5, 9, 3, 7)]
    ids = torch.cat(texts).numpy()
    offsets = torch.tensor([0, 5, 14, 17, 24]).numpy()
    documents = Documents(ids, ids >= 0, offsets, None)
    rows = [[Piece(2, 0, 3), Piece(0, 0, 5)], [Piece(1, 0, 9)], [Piece(3, 0, 7)]]
    batch = batch_of(documents, rows, 10)
    mask = attention_mask(batch.segment, torch.device("cpu"))
    packed = decoder(torch.from_numpy(batch.ids), torch.from_numpy(batch.positions), mask)
    for r, row in enumerate(rows):
        at = 0
        for piece in row:
            alone = decoder(texts[piece.document][None])[0]
            here = packed[r, at : at + len(alone)]
            assert (alone - here).abs().max() < 1e-10
            at += len(alone)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_generation_with_a_cache_is_generation_without(qk_norm):
    decoder = Decoder(config_of("one key head, wide", qk_norm=qk_norm))
    decoder.init_weights(torch.Generator().manual_seed(5))
    ids, plain = [5, 17, 2], []
    for _ in range(12):
        plain.append(int(decoder(torch.tensor([ids + plain]))[0, -1].argmax()))
    assert decoder.generate(ids, max_tokens=12) == plain
    assert decoder.generate(ids, max_tokens=12, stop=frozenset(plain[4:5])) == plain[: plain.index(plain[4])]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_cost_arithmetic_counts_what_is_there(shape, qk_norm):
    config = config_of(shape, qk_norm=qk_norm)
    decoder = Decoder(config)
    counted = parameters(config)
    assert counted.total == sum(weight.numel() for weight in decoder.parameters())
    matrices = sum(m.weight.numel() for m in decoder.modules() if isinstance(m, torch.nn.Linear))
    assert counted.matrices == matrices


def test_flops_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    config = config_of("multi-head tied", qk_norm=False)
    decoder = Decoder(config)
    ids = torch.zeros(2, 32, dtype=torch.long)
    mask = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        decoder(ids, mask=mask).sum().backward()
    assert counter.get_total_flops() == pytest.approx(training_flops_per_token(config, 32) * 64, rel=0.01)


def test_shapes_that_cannot_be_built_are_refused():
    with pytest.raises(ConfigError, match="num_attention_heads"):
        ModelConfig(8, 8, 8, 1, 3, 2, 4)
    with pytest.raises(ConfigError, match="head_dim"):
        ModelConfig(8, 8, 8, 1, 2, 2, 3)
    with pytest.raises(ConfigError, match="high_freq_factor"):
        rope.Llama3(8.0, 64, low_freq_factor=4.0, high_freq_factor=1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"rope_scaling": {"rope_type": "longrope"}, "rope_parameters": None}, "longrope"),
        ({"rope_scaling": {"type": "linear"}, "rope_parameters": None}, "factor"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "truncate"),
        ({"attention_bias": True}, "bias"),
    ],
)
def test_configs_that_we_do_not_build_are_refused_by_name(change, says):
    record = config_of("grouped untied", qk_norm=False).to_huggingface()
    with pytest.raises(InputError, match=says):
        ModelConfig.from_huggingface(record | change, place="config.json")


@pytest.mark.parametrize("scaling", [None, *SCALINGS])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_a_shape_survives_its_config_file(qk_norm, scaling):
    config = config_of("grouped untied", qk_norm=qk_norm, rope_scaling=SCALINGS.get(scaling))
    assert ModelConfig.from_huggingface(config.to_huggingface()) == config
    assert ModelConfig.from_record(json.loads(json.dumps(config.to_record()))) == config


def test_the_configs_that_llama_and_qwen3_are_published_with_are_read():
    record = config_of("grouped untied", qk_norm=False).to_huggingface() | {"rope_parameters": None}
    llama = {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }
    found = ModelConfig.from_huggingface(record | {"rope_scaling": llama, "rope_theta": 500000.0})
    assert (found.rope_scaling, found.rope_theta) == (rope.Llama3(32.0, 8192), 500000.0)
    qwen = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert ModelConfig.from_huggingface(record | {"rope_scaling": qwen}).rope_scaling == rope.Yarn(4.0, 32768)
    del qwen["original_max_position_embeddings"]
    assert ModelConfig.from_huggingface(record | {"rope_scaling": qwen}).rope_scaling == rope.Yarn(4.0, 64)
