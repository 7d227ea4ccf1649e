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
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            "the folder has no *.safetensors (pickled weights are never read)",
            place=str(folder),
            remedy="Convert the weights to safetensors first.",
        )
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


def save_folder(decoder: Decoder, vocabulary: Path, folder: Path) -> None:
    """Write config.json, model.safetensors, tokenizer files, chat template and generation_config.json.

    `vocabulary` is a folder with tokenizer.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", decoder.config.to_huggingface())
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    if decoder.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    write_atomically(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    for name in TOKENIZER_FILES:
        if (vocabulary / name).is_file():
            shutil.copyfile(vocabulary / name, folder / name)
    if not (vocabulary / "tokenizer_config.json").is_file():
        write_json(folder / "tokenizer_config.json", tokenizer_config(decoder.config.max_position_embeddings))
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [0, 2], "pad_token_id": 0})


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
