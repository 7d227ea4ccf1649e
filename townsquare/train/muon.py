"""Muon: momentum whose matrices are orthogonalised, shared by all processes that share the matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Partial, Replicate

from townsquare.train.layout import gathered

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MATCHES_ADAMW = 0.2  # times sqrt(larger side): updates of AdamW's root mean square (Liu et al., 2025, arXiv 2502.16982)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) with Nesterov momentum, for matrices.

    It iterates in `number_type`: bfloat16 is torch.optim.Muon's, which for matrices of one process this equals.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, number_type: torch.dtype
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self.number_type = number_type

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Learn from the gradients. Matrices go through in rounds of as many as there are processes to share them."""
        for group in self.param_groups:
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            for some in _rounds(learning):
                directions = orthogonalised([self._momentum(parameter) for parameter in some])
                for parameter, direction in zip(some, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    rate = group["lr"] * MATCHES_ADAMW * math.sqrt(max(parameter.shape))
                    parameter.add_(direction.to(parameter.dtype), alpha=-rate)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """The gradient, smoothed, in the number type that is iterated in."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(buffer, MOMENTUM).to(self.number_type)


def orthogonalised(updates: Sequence[Tensor]) -> Iterator[Tensor]:
    """U Vᵀ for each U S Vᵀ, nearly. Matrices that processes share are gathered, each process does one of them, and
    the results go back to where the parts were: a sum to which all others add zeros, so that it is exact."""
    if not isinstance(updates[0], DTensor):
        yield from map(newton_schulz, updates)
        return
    mine = _number_here(updates[0])
    for number, update in enumerate(updates):
        whole = gathered(update)
        if number == mine:
            done = newton_schulz(whole)
    for number, update in enumerate(updates):
        assert isinstance(update, DTensor)
        part = done if number == mine else torch.zeros(update.shape, dtype=update.dtype, device=update.device)
        summed = [Replicate() if place.is_replicate() else Partial() for place in update.placements]
        yield DTensor.from_local(part, update.device_mesh, summed, run_check=False).redistribute(
            placements=update.placements
        )


def newton_schulz(matrix: Tensor) -> Tensor:
    """Five steps of the quintic iteration, after which singular values are near 1 (0.7 to 1.2)."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _rounds(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    size = _sharing(parameters[0]) if parameters else 1
    return (parameters[start : start + size] for start in range(0, len(parameters), size))


def _shared_dimensions(tensor: DTensor) -> list[int]:
    """Dimensions of the mesh over which the tensor is split; copies of the model each do the whole work."""
    return [number for number, place in enumerate(tensor.placements) if not place.is_replicate()]


def _sharing(tensor: Tensor) -> int:
    """How many processes hold parts of the matrix."""
    if not isinstance(tensor, DTensor):
        return 1
    return math.prod(tensor.device_mesh.size(dimension) for dimension in _shared_dimensions(tensor))


def _number_here(tensor: DTensor) -> int:
    """This process's number among those."""
    number = 0
    for dimension in _shared_dimensions(tensor):
        number = number * tensor.device_mesh.size(dimension) + tensor.device_mesh.get_local_rank(dimension)
    return number
