"""A run's figures for TensorBoard while it goes on, for those who watch there: its step log, once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from townsquare.errors import ConfigError

Note = Callable[[Mapping[str, Any]], None]


@contextmanager
def tracking(folder: Path | None, steps_done: int) -> Iterator[Note]:
    """What takes each step's record and writes its numbers as TensorBoard's scalars; with no folder, nothing.

    What an earlier part of the run wrote beyond `steps_done` is struck out. Raises ConfigError without `tensorboardX`.
    """
    if folder is None:
        yield lambda record: None
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError(
            "TensorBoard's files need a package that is not installed", remedy="pip install 'townsquare[track]'"
        ) from None
    with SummaryWriter(str(folder), purge_step=steps_done + 1) as writer:

        def note(record: Mapping[str, Any]) -> None:
            for name, value in record.items():
                if name != "step" and isinstance(value, (int, float)):
                    writer.add_scalar(f"train/{name}", value, record["step"])

        yield note
