"""Muon for the blocks' matrices, AdamW for the rest and for adapters, and one learning-rate schedule for both."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from townsquare.train.layout import gathered, shared_like
from townsquare.train.muon import Muon

BETAS = (0.9, 0.95)


class Optimizers:
    """The pair of optimizers over one decoder, as it lies on its processes. Muon iterates in `number_type`.

    State tensors are named after the parameters they belong to.
    """

    def __init__(
        self,
        decoder: nn.Module,
        learning_rate: float,
        weight_decay: float,
        number_type: torch.dtype = torch.bfloat16,
    ) -> None:
        self.names = {id(parameter): name for name, parameter in decoder.named_parameters()}
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in decoder.named_parameters():
            if parameter.requires_grad:
                outer = parameter.ndim < 2 or any(part in name for part in ("embed_tokens", "lm_head", "lora_"))
                (others if outer else matrices).append(parameter)
        groups = [
            {"params": [p for p in others if p.ndim == 2], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, fused=True),
        ]
        if matrices:
            self.parts.append(Muon(matrices, learning_rate, weight_decay, number_type))

    def set_learning_rate(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Every state tensor, whole, as PARAMETER|KEY; gathered one by one where processes share them."""
        for part in self.parts:
            for parameter, values in part.state.items():
                for key, value in values.items():
                    yield f"{self.names[id(parameter)]}|{key}", gathered(value.detach())

    def load_state(self, state: Iterator[tuple[str, Tensor]]) -> None:
        """Put back what `state` gave, in place of what there is, split as the parameters are split now."""
        owners = {
            self.names[id(parameter)]: (part, parameter)
            for part in self.parts
            for group in part.param_groups
            for parameter in group["params"]
        }
        for part in self.parts:
            part.state.clear()
        for name, value in state:
            part, parameter = owners[name.split("|")[0]]
            like = parameter if value.shape == parameter.shape else value  # a count of steps is on every process
            part.state[parameter][name.split("|")[1]] = shared_like(value, like).clone()


def learning_rate_at(step: int, *, peak: float, steps: int, warmup: int, decay: int) -> float:
    """Warm-up, stable, decay: linear up over `warmup` steps, level, linear to zero over the last `decay`."""
    rising = min((step + 1) / max(warmup, 1), 1.0)
    falling = min((steps - step) / max(decay, 1), 1.0)
    return peak * min(rising, falling)
