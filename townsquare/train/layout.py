"""How a run's processes share the model: copies of it, shards of it, and matrices split within layers.

One DeviceMesh of replicate × shard × tensor carries it: FSDP2 over the first two (hybrid where both are above 1;
Zhao et al., 2023, arXiv 2304.11277), tensor and sequence parallelism over the last (Shoeybi et al., 2019, arXiv
1909.08053; Korthikanti et al., 2022, arXiv 2205.05198).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)

from townsquare.errors import ConfigError
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder


@dataclasses.dataclass(frozen=True)
class Layout:
    """replicate × shard × tensor processes. Ranks count through `tensor` first, so that it stays within a machine."""

    replicate: int = 1
    """Copies of the model, each learning from its own rows."""
    shard: int = 1
    """Processes that share one copy's weights, gradients and optimizer state; each learns from its own rows."""
    tensor: int = 1
    """Processes that share each layer's matrices, and learn from the same rows."""

    @classmethod
    def parse(cls, text: str, processes: int) -> Layout:
        """Such as "shard=4,tensor=2" for 8 processes; `shard` left out takes all that are left. Raises ConfigError."""
        remedy = "Write for example shard=4,tensor=2; the parts are replicate, shard and tensor."
        parts = [part.strip() for part in text.split(",") if part.strip()]
        matches = [re.fullmatch(r"(replicate|shard|tensor)=([1-9]\d*)", part) for part in parts]
        sizes = {match[1]: int(match[2]) for match in matches if match}
        if len(sizes) != len(parts):
            raise ConfigError(f"layout cannot be {text!r}", remedy=remedy)
        others = sizes.get("replicate", 1) * sizes.get("tensor", 1)
        sizes.setdefault("shard", max(processes // others, 1))
        layout = cls(**sizes)
        if layout.processes != processes:
            raise ConfigError(
                f"the layout {layout} needs {layout.processes} processes, and {processes} are at work",
                remedy="Start as many with torchrun --nproc-per-node, or leave shard out.",
            )
        return layout

    @property
    def processes(self) -> int:
        return self.replicate * self.shard * self.tensor

    def __str__(self) -> str:
        return ",".join(f"{field.name}={getattr(self, field.name)}" for field in dataclasses.fields(self))

    def share(self, rank: int) -> tuple[int, int]:
        """Which part of a step's rows a process learns from, and of how many."""
        return rank // self.tensor, self.replicate * self.shard

    def check(self, model: ModelConfig, sequence_length: int) -> None:
        """Raises ConfigError where `tensor` does not divide what it splits."""
        split = {
            "key and value heads": model.num_key_value_heads,
            "tokens a row": sequence_length,
            "width inside SwiGLU": model.intermediate_size,
            "tokens of the vocabulary": model.vocab_size,
        }
        for name, size in split.items():
            if size % self.tensor:
                raise ConfigError(
                    f"tensor={self.tensor} does not divide the {size} {name}",
                    remedy="Give a tensor that does, and shard over the other processes.",
                )

    def loss_context(self) -> contextlib.AbstractContextManager[Any]:
        """In it the loss and its gradient are taken from logits that are split over `tensor`."""
        return loss_parallel() if self.tensor > 1 else contextlib.nullcontext()


ONE = Layout()


def spread(decoder: Decoder, layout: Layout, device: torch.device, number_type: torch.dtype) -> None:
    """Put the decoder on the device, split over the processes; one layer at a time, so that no more is held whole."""
    if layout.processes == 1:
        decoder.to(device)
        return
    _quiet()
    mesh = init_device_mesh(
        device.type,
        (layout.replicate, layout.shard, layout.tensor),
        mesh_dim_names=("replicate", "shard", "tensor"),
    )
    data = mesh["replicate", "shard"] if layout.replicate > 1 else mesh["shard"]
    # Blocks gather and compute in the number type; the stream between them stays float32, as in one process.
    policy = MixedPrecisionPolicy(number_type, torch.float32, cast_forward_inputs=False)
    for block in decoder.model.layers:
        block.to(device)
        if layout.tensor > 1:
            _split_block(block, mesh["tensor"])
        fully_shard(block, mesh=data, mp_policy=policy)
    decoder.to(device)
    if layout.tensor > 1:
        _split_ends(decoder, mesh["tensor"])
    fully_shard(decoder, mesh=data)
    register_fsdp_forward_method(decoder, "hidden")
    for module in decoder.modules():
        if isinstance(module, FSDPModule):  # gradients are summed: the loss is over the whole step's targets already
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def at_last_micro_batch(decoder: nn.Module, last: bool) -> None:
    """Sum gradients over copies of the model only once a step; over shards at once, so that none is held whole."""
    if isinstance(decoder, FSDPModule):
        decoder.set_requires_all_reduce(last)


def let_go(decoder: nn.Module) -> None:
    """Give back the weights that a forward pass left gathered because no backward pass followed."""
    if isinstance(decoder, FSDPModule):
        decoder.reshard()


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor that processes share, on each of them."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_like(whole: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process holds whole, split as `like` is."""
    if not isinstance(like, DTensor):
        return whole.to(like.device)
    mesh = like.device_mesh
    there = whole.to(like.device)
    return DTensor.from_local(there, mesh, [Replicate()] * mesh.ndim, run_check=False).redistribute(
        placements=like.placements
    )


def _split_block(block: nn.Module, mesh: DeviceMesh) -> None:
    """Heads and the SwiGLU's width over the processes; what lies between, over positions."""
    whole, positions = Replicate(), Shard(1)
    parallelize_module(
        block,
        mesh,
        {
            "input_layernorm": SequenceParallel(),
            "self_attn": PrepareModuleInput(
                input_layouts=(positions, None, None, None), desired_input_layouts=(whole, None, None, None)
            ),
            **{f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"},
            # Norms of heads: here it is heads (dimension 2) that the processes share.
            **{f"self_attn.{name}_norm": SequenceParallel(sequence_dim=2, use_local_output=True)
               for name in "qk" if hasattr(block.self_attn, f"{name}_norm")},
            "self_attn.o_proj": RowwiseParallel(output_layouts=positions),
            "post_attention_layernorm": SequenceParallel(),
            "mlp": PrepareModuleInput(input_layouts=(positions,), desired_input_layouts=(whole,)),
            "mlp.gate_proj": ColwiseParallel(),
            "mlp.up_proj": ColwiseParallel(),
            "mlp.down_proj": RowwiseParallel(output_layouts=positions),
        },
    )  # fmt: skip


def _split_ends(decoder: Decoder, mesh: DeviceMesh) -> None:
    """The vocabulary over the processes, at both ends; the logits stay split, see `Layout.loss_context`."""
    parallelize_module(
        decoder,
        mesh,
        {
            "model.embed_tokens": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
            "model.norm": SequenceParallel(),
            "lm_head": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False),
        },
    )
    decoder.model.norm.register_forward_hook(lambda _module, _inputs, output: gathered(output))
    if decoder.config.tie_word_embeddings:
        decoder.lm_head.weight = decoder.model.embed_tokens.weight


def _quiet() -> None:
    """Two warnings of torch's that do not concern this decoder."""
    # A block also returns its keys and values, which are views; nothing writes into them.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    # Gathering over two dimensions of the mesh takes two collectives; every process runs the same ones.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
