"""The processes of a run under torchrun: they start together, agree on every step, and end with one message."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

from townsquare import ranks
from townsquare.errors import TownsquareError

ASK_SECONDS = 0.02
ENDED = "townsquare/ended"  # the key under which the first process to fail says so


@dataclasses.dataclass(frozen=True)
class World:
    """All processes of a run, seen from one of them. Every method but `leads` is called by all of them at once."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for the others."""
        return self.rank == 0

    def told(self, value: Any = None) -> Any:
        """What the leading process has in `value`."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def sums(self, *numbers: float) -> list[float]:
        """Each number summed over the processes, in float64; every process gets the same bits."""
        return list(numbers) if self.size == 1 else self._reduced(numbers, dist.ReduceOp.SUM)

    def either(self, *flags: bool) -> list[bool]:
        """For each flag whether any process has raised it."""
        return list(flags) if self.size == 1 else [value > 0 for value in self._reduced(flags, dist.ReduceOp.MAX)]

    def _reduced(self, numbers: tuple[float, ...], how: Any) -> list[float]:
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, how)
        found: list[float] = values.tolist()
        return found


ALONE = World()


def device_here() -> torch.device:
    """The device of this process: the GPU of its number on this machine, or the processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextlib.contextmanager
def together() -> Iterator[World]:
    """Join the other processes that torchrun started; alone where it started none. May be nested.

    An error in one process ends all of them: the first to fail tells it, the others end silently.
    """
    if ranks.world_size() == 1:
        yield ALONE
        return
    if dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size())
        return
    device = device_here()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store, rank, size = next(iter(dist.rendezvous("env://")))
    fresh = dist.PrefixStore(f"start-{_number_of_this_start(store, rank, size)}", store)
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=size)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
        dist.barrier()
    except Exception as error:
        if not _first_to_end():
            os._exit(getattr(error, "exit_code", 1))  # nothing is left to say or to write
        if _broken_off(error):
            raise TownsquareError(
                "another process of this run has ended",
                remedy="Run the same command again to go on; torchrun --max-restarts does it by itself.",
            ) from None
        raise
    finally:
        dist.destroy_process_group()


def _number_of_this_start(store: dist.Store, rank: int, size: int) -> int:
    """How often the processes have been started, agreed by all.

    torchrun keeps its store when it starts them again, with the addresses of those that died, and its count of restarts
    differs between machines (github.com/pytorch/pytorch/issues/135712). So rank 0 counts, and tells each process
    that asks with a word of its own, until that has answered: what is left of an earlier start is answered in vain.
    """
    word = secrets.token_hex(8)
    if rank:
        store.set(f"asks-{rank}", word)
        while not store.check([f"number-{word}"]):
            time.sleep(ASK_SECONDS)
        number = int(store.get(f"number-{word}"))
        store.set(f"heard-{number}-{word}", "")
        return number
    number = store.add("starts", 1)
    unheard = set(range(1, size))
    while unheard:
        for other in [other for other in sorted(unheard) if store.check([f"asks-{other}"])]:
            theirs = store.get(f"asks-{other}").decode()
            store.set(f"number-{theirs}", str(number))
            if store.check([f"heard-{number}-{theirs}"]):
                unheard.discard(other)
        time.sleep(ASK_SECONDS)
    return number


def _first_to_end() -> bool:
    """Whether no other process has failed before. Where the store is gone too, rank 0 speaks."""
    me = str(dist.get_rank())
    try:
        found = dist.distributed_c10d._get_default_store().compare_set(ENDED, "", me)
    except dist.DistError:
        return ranks.leads()
    return bool(found.decode() == me)


def _broken_off(error: Exception) -> bool:
    """Whether it is what a process sees when another is gone: gloo raises RuntimeErrors that name the peer."""
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("closed by peer", "Connection reset", "Timed out", "gloo", "NCCL")
    )
