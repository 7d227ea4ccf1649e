"""GGUF files in and out: Llama and Qwen3, with a byte-level BPE vocabulary that llama.cpp knows by name.

Two traps of the format. Llama's files hold the rows of the query and key matrices permuted, because there
llama.cpp rotates neighbouring pairs where Hugging Face rotates halves; Qwen3's do not. And a vocabulary is
only read right when `tokenizer.ggml.pre` names its pre-tokenisation; ours is SmolLM2's, "smollm".
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from townsquare.errors import InputError
from townsquare.model import rope
from townsquare.model.chat import CHAT_TEMPLATE, TURN_END
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder, plain_frequencies
from townsquare.model.huggingface import assign
from townsquare.square import disk_errors_explained

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer

PRE_TOKENIZATION = "smollm"
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3  # llama.cpp's token types
NumberType = Literal["f32", "f16", "q8_0"]
FILE_TYPES: dict[NumberType, int] = {"f32": 0, "f16": 1, "q8_0": 7}  # llama.cpp's numbers for them
ROPE_FACTORS = "rope_freqs.weight"


def _open(path: Path) -> GGUFReader:
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"this is not a GGUF file that can be read: {error}", place=str(path), remedy="Copy the file again."
        ) from error


def _value(reader: GGUFReader, key: str, default: Any = None) -> Any:
    field = reader.get_field(key)
    return default if field is None else field.contents()


def _shape(reader: GGUFReader, path: Path) -> ModelConfig:
    family = _value(reader, "general.architecture")
    if family not in ("llama", "qwen3"):
        raise InputError(
            f"a GGUF file of architecture {family!r} cannot be read",
            place=str(path),
            remedy="Use a Llama or Qwen3 file.",
        )
    names = {tensor.name for tensor in reader.tensors}
    heads, width = _value(reader, f"{family}.attention.head_count"), _value(reader, f"{family}.embedding_length")
    return ModelConfig(
        vocab_size=len(_value(reader, "tokenizer.ggml.tokens")),
        hidden_size=width,
        intermediate_size=_value(reader, f"{family}.feed_forward_length"),
        num_hidden_layers=_value(reader, f"{family}.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_value(reader, f"{family}.attention.head_count_kv", heads),
        head_dim=_value(reader, f"{family}.attention.key_length", width // heads),
        max_position_embeddings=_value(reader, f"{family}.context_length"),
        rope_theta=_decimal(_value(reader, f"{family}.rope.freq_base", 10_000.0)),
        rope_scaling=_scaling(reader, family, path),
        rms_norm_eps=_decimal(_value(reader, f"{family}.attention.layer_norm_rms_epsilon", 1e-5)),
        tie_word_embeddings="output.weight" not in names,
        qk_norm=family == "qwen3",
    )


def _scaling(reader: GGUFReader, family: str, path: Path) -> rope.Scaling | None:
    """The file's rotary scaling. Raises InputError for Llama 3.1's, which a file holds as bare divisors."""
    if any(tensor.name == ROPE_FACTORS for tensor in reader.tensors):
        raise InputError(
            "a GGUF file with Llama 3.1's rotary scaling cannot be read: it lacks the settings of it",
            place=str(path),
            remedy="Use the model's Hugging Face folder.",
        )
    prefix = f"{family}.rope.scaling"
    names = {
        "factor": "factor",
        "original_max_position_embeddings": "original_context_length",
        "beta_fast": "yarn_beta_fast",
        "beta_slow": "yarn_beta_slow",
    }
    record = {key: _value(reader, f"{prefix}.{name}") for key, name in names.items()}
    kind = _value(reader, f"{prefix}.type", "none")
    record = {key: _decimal(v) if isinstance(v, float) else v for key, v in record.items() if v is not None}
    record["rope_type"] = "default" if kind == "none" else kind
    return rope.from_record(record, _value(reader, f"{family}.context_length"), str(path))


def _decimal(single: float) -> float:
    """The number that a float32 field was written for: 1e-5, not 9.999999747378752e-06."""
    return float(str(np.float32(single)))


def load(path: Path) -> Decoder:
    """A decoder with the file's weights, dequantised to float32. Raises InputError."""
    from gguf import dequantize

    reader = _open(path)
    config = _shape(reader, path)
    weights: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        name = _huggingface_name(tensor.name)
        if name is None:
            raise InputError(
                f"the tensor {tensor.name} has no place in a decoder of ours",
                place=str(path),
                remedy="Use a dense Llama or Qwen3 file.",
            )
        array = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        array = array.reshape(tuple(int(n) for n in reversed(tensor.shape)))
        if _permuted(name, config):
            array = _halves(array, config.head_dim)
        weights[name] = torch.from_numpy(np.ascontiguousarray(array))
    decoder = Decoder(config)
    assign(decoder, weights, str(path))
    return decoder


def _permuted(name: str, config: ModelConfig) -> bool:
    """Whether a matrix, by its Hugging Face name, is stored with its rows in the order of rotated pairs."""
    return not config.qk_norm and name.endswith(("q_proj.weight", "k_proj.weight"))


def _huggingface_name(name: str) -> str | None:
    if name in OUTER_NAMES:
        return OUTER_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in BLOCK_NAMES:
        return f"model.layers.{parts[1]}.{BLOCK_NAMES[parts[2]]}.{parts[3]}"
    return None


def _halves(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """From neighbouring pairs, as GGUF stores a head's rows, to the two halves of Hugging Face."""
    return rows.reshape(-1, head_dim // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _pairs(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """The inverse of `_halves`."""
    return rows.reshape(-1, 2, head_dim // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def read_tokenizer(path: Path) -> Tokenizer:
    """The vocabulary inside a GGUF file. Raises InputError where it is not byte-level BPE of SmolLM2's kind."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    reader = _open(path)
    kind, pre = _value(reader, "tokenizer.ggml.model"), _value(reader, "tokenizer.ggml.pre")
    if (kind, pre) != ("gpt2", PRE_TOKENIZATION):
        raise InputError(
            f"a GGUF vocabulary of kind {kind!r} with pre-tokenisation {pre!r} cannot be read",
            place=str(path),
            remedy="Use the model's Hugging Face folder, which has its tokenizer.json.",
        )
    tokens = _value(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    types = _value(reader, "tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def pre_tokenizer() -> Any:
    """How text is cut before BPE: single digits, then GPT-2's pattern. llama.cpp calls it "smollm"."""
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def save(decoder: Decoder, vocabulary: Path, path: Path, *, name: str, number_type: NumberType) -> None:
    """Write a GGUF file, its matrices in `number_type`, atomically.

    `vocabulary` is a folder with the tokenizer.json of a byte-level BPE cut as `pre_tokenizer` does.
    Q8_0 holds 32 numbers of a row in 34 bytes; a matrix whose rows do not divide by 32 becomes F16.
    Raises InputError for a rotary scaling that llama.cpp does not know.
    """
    from gguf import GGUFWriter

    config = decoder.config
    factors = _rope_divisors(config, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    writer = GGUFWriter(partial, "qwen3" if config.qk_norm else "llama")
    _write_shape(writer, config, name, number_type)
    _write_vocabulary(writer, json.loads((vocabulary / "tokenizer.json").read_text(encoding="utf-8")), config)
    if factors is not None:
        writer.add_tensor(ROPE_FACTORS, factors)
    for hf_name, tensor in decoder.state_dict().items():
        if hf_name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.detach().cpu().float().numpy()
        if _permuted(hf_name, config):
            array = _pairs(array, config.head_dim)
        _add_tensor(writer, _gguf_name(hf_name), np.ascontiguousarray(array), number_type)
    with disk_errors_explained(path):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(partial, path)


def _add_tensor(writer: Any, name: str, array: np.ndarray, number_type: NumberType) -> None:
    from gguf import GGMLQuantizationType, quantize

    if array.ndim < 2 or number_type == "f32":
        writer.add_tensor(name, array)
    elif number_type == "q8_0" and array.shape[1] % 32 == 0:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, array.astype(np.float16))


def _rope_divisors(config: ModelConfig, path: Path) -> np.ndarray | None:
    """What llama.cpp divides the frequencies of a Llama 3.1 model by; None for other models. Raises InputError."""
    scaling = config.rope_scaling
    if isinstance(scaling, rope.Llama3):
        if config.qk_norm:
            raise InputError(
                "llama.cpp does not know Llama 3.1's rotary scaling in a Qwen3 model",
                place=str(path),
                remedy="Use the model's Hugging Face folder, or a base scaled by YaRN.",
            )
        plain = plain_frequencies(config.head_dim, config.rope_theta)
        return np.asarray((plain / scaling.frequencies(plain, config.rope_theta)).numpy())
    if isinstance(scaling, rope.Yarn) and scaling.magnitude != scaling.default_magnitude:
        raise InputError(
            f"llama.cpp does not know YaRN with an attention factor of {scaling.magnitude:g}",
            place=str(path),
            remedy="Use the model's Hugging Face folder.",
        )
    return None


def _gguf_name(name: str) -> str:
    outer = {hf: gguf for gguf, hf in OUTER_NAMES.items()}
    if name in outer:
        return outer[name]
    _, _, layer, rest = name.split(".", 3)
    part, suffix = rest.rsplit(".", 1)
    return f"blk.{layer}.{ {hf: gguf for gguf, hf in BLOCK_NAMES.items()}[part] }.{suffix}"


def _write_shape(writer: Any, config: ModelConfig, name: str, number_type: NumberType) -> None:
    writer.add_name(name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(FILE_TYPES[number_type])
    _write_scaling(writer, config.rope_scaling)


def _write_scaling(writer: Any, scaling: rope.Scaling | None) -> None:
    from gguf import RopeScalingType

    if isinstance(scaling, rope.Linear):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
    elif isinstance(scaling, rope.Yarn):
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling.factor)
        writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)
        writer.add_rope_scaling_yarn_beta_fast(scaling.beta_fast)
        writer.add_rope_scaling_yarn_beta_slow(scaling.beta_slow)


def _write_vocabulary(writer: Any, record: dict[str, Any], config: ModelConfig) -> None:
    by_id = {index: token for token, index in record["model"]["vocab"].items()}
    special = {token["id"]: token["content"] for token in record["added_tokens"]}
    by_id |= special
    tokens = [by_id.get(index, f"<|unused_{index}|>") for index in range(config.vocab_size)]
    end = next((index for index, token in special.items() if token == TURN_END), 0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZATION)
    writer.add_token_list(tokens)
    unused = [index not in by_id for index in range(config.vocab_size)]
    writer.add_token_types(
        [CONTROL_TOKEN if index in special or unused[index] else NORMAL_TOKEN for index in range(config.vocab_size)]
    )
    merges = record["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
