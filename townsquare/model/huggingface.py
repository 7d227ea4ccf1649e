"""Hugging Face folders in and out: config.json, safetensors, tokenizer files. Never pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from townsquare.errors import InputError
from townsquare.model.chat import CHAT_TEMPLATE, END_OF_TEXT, TURN_END
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.square import write_atomically, write_json

SHARD_BYTES = 5_000_000_000  # a file of weights; transformers' own default until its version 5
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def read_config(folder: Path) -> ModelConfig:
    """The shape of the model in a Hugging Face folder. Raises InputError."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            "this is not a Hugging Face model folder: it has no config.json",
            place=str(folder),
            remedy="Give a folder with config.json and *.safetensors, or a .gguf file.",
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return ModelConfig.from_huggingface(record, place=str(path))
    except (ValueError, KeyError) as error:
        raise InputError(f"the config cannot be read: {error!r}", place=str(path), remedy="Mend the file.") from error


def load(folder: Path) -> Decoder:
    """A decoder with the folder's weights, in float32. Raises InputError naming what is missing or misshapen."""
    decoder = Decoder(read_config(folder))
    files = _weight_files(folder)
    weights: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as handle:
                weights.update({name: handle.get_tensor(name) for name in handle.keys()})  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(
                f"the weights cannot be read: {error}", place=str(file), remedy="Copy the file again."
            ) from error
    assign(decoder, weights, str(folder))
    return decoder


def _weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: those that the index names, or the only one. Raises InputError."""
    if (folder / INDEX).is_file():
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            files = sorted({folder / Path(name).name for name in index["weight_map"].values()})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(
                f"the index of the weights cannot be read: {error!r}",
                place=str(folder / INDEX),
                remedy="Mend the file.",
            ) from error
    else:
        files = [folder / "model.safetensors"]
    for file in files:
        if not file.is_file():
            raise InputError(
                f"the folder has no {file.name} (pickled weights are never read)",
                place=str(folder),
                remedy="Copy the model's safetensors files into it, or convert its weights to them first.",
            )
    return files


def assign(decoder: Decoder, weights: dict[str, torch.Tensor], place: str) -> None:
    """Copy named weights into a decoder, in float32. Raises InputError for a missing, extra or misshapen one."""
    if decoder.config.tie_word_embeddings:
        weights.setdefault("lm_head.weight", weights.get("model.embed_tokens.weight", torch.empty(0)))
    wanted = decoder.state_dict()
    wrong = sorted(set(wanted) ^ set(weights)) or sorted(n for n in wanted if wanted[n].shape != weights[n].shape)
    if wrong:
        raise InputError(
            f"the weights do not fit the config, first at {wrong[0]} ({len(wrong)} in all)",
            place=place,
            remedy="Use weights and config of the same model.",
        )
    decoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()})


def save_folder(decoder: Decoder, vocabulary: Path, folder: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write config.json, safetensors, tokenizer files, chat template and generation_config.json.

    `vocabulary` is a folder with tokenizer.json. Weights of more than `shard_bytes` are cut into several files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", decoder.config.to_huggingface())
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    if decoder.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    _write_weights(weights, folder, shard_bytes)
    for name in TOKENIZER_FILES:
        if (vocabulary / name).is_file():
            shutil.copyfile(vocabulary / name, folder / name)
    if not (vocabulary / "tokenizer_config.json").is_file():
        write_json(folder / "tokenizer_config.json", tokenizer_config(decoder.config.max_position_embeddings))
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [0, 2], "pad_token_id": 0})


def _write_weights(weights: dict[str, torch.Tensor], folder: Path, shard_bytes: int) -> None:
    """model.safetensors, or model-00001-of-0000N.safetensors and the index that says where each weight is."""
    shards = _in_shards(weights, shard_bytes)
    if len(shards) == 1:
        write_atomically(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
        return
    placed: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_atomically(folder / name, save(shard, metadata={"format": "pt"}))
        placed |= dict.fromkeys(shard, name)
    total = sum(tensor.nbytes for tensor in weights.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def _in_shards(weights: dict[str, torch.Tensor], shard_bytes: int) -> list[dict[str, torch.Tensor]]:
    """The weights in order, a new part before each that would make its part greater than `shard_bytes`."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    room = shard_bytes
    for name, tensor in weights.items():
        if tensor.nbytes > room and shards[-1]:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = tensor
        room -= tensor.nbytes
    return shards


def tokenizer_config(longest: int) -> dict[str, Any]:
    """The content of tokenizer_config.json for a ChatML vocabulary."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
