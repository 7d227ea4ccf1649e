"""Low-rank adapters: a few trained numbers beside frozen matrices (Hu et al., 2021, arXiv 2106.09685), in PEFT's files.

Every matrix inside the blocks gets one. A matrix W becomes W + (alpha / rank) B A, with A (rank, in), B (out, rank).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from townsquare.model.decoder import Decoder
from townsquare.square import write_atomically, write_json

ALPHA = 32.0  # as for GPT-2 in arXiv 2106.09685, table 11, whatever the rank
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PREFIX = "base_model.model."  # what PEFT puts before every name


class Adapted(nn.Linear):
    """A linear layer whose matrix is frozen, and an adapter beside it that learns. Nothing changes before it does."""

    def __init__(self, plain: nn.Linear, rank: int) -> None:
        super().__init__(plain.in_features, plain.out_features, bias=False, device="meta")
        self.weight = plain.weight
        self.weight.requires_grad_(False)
        self.rank = rank
        self.lora_A = nn.Linear(plain.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, plain.out_features, bias=False)

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return ALPHA / self.rank

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.lora_B(self.lora_A(x))
        return F.linear(x, self.weight) + added * self.scale


def adapt(decoder: Decoder, rank: int, generator: torch.Generator | None = None) -> None:
    """Freeze the decoder and put adapters beside its blocks' matrices: A uniform as PEFT draws it, B zero."""
    decoder.requires_grad_(False)
    for module in [module for module in decoder.modules() if not isinstance(module, Adapted)]:
        for name, child in module.named_children():
            if name not in MATRICES or not isinstance(child, nn.Linear):
                continue
            adapted = Adapted(child, rank)
            nn.init.kaiming_uniform_(adapted.lora_A.weight, a=math.sqrt(5), generator=generator)
            nn.init.zeros_(adapted.lora_B.weight)
            setattr(module, name, adapted)


@torch.no_grad()
def merge(decoder: Decoder) -> None:
    """Add every adapter to its matrix; what is left is a plain decoder. One without adapters stays as it is."""
    for module in list(decoder.modules()):
        for name, child in module.named_children():
            if not isinstance(child, Adapted):
                continue
            plain = nn.Linear(child.in_features, child.out_features, bias=False, device="meta")
            plain.weight = nn.Parameter(child.weight + child.scale * child.lora_B.weight @ child.lora_A.weight)
            setattr(module, name, plain)
    decoder.requires_grad_(True)


def rank_of(decoder: Decoder) -> int | None:
    """The rank of the decoder's adapters, or None where it has none."""
    return next((module.rank for module in decoder.modules() if isinstance(module, Adapted)), None)


def save_folder(decoder: Decoder, folder: Path, *, base: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors, as PEFT loads them. `base` names what they adapt."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        PREFIX + name: weight.detach().cpu().contiguous()
        for name, weight in decoder.named_parameters()
        if ".lora_" in name
    }
    write_atomically(folder / "adapter_model.safetensors", save(weights, metadata={"format": "pt"}))
    record = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank_of(decoder),
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": list(MATRICES),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", record)
