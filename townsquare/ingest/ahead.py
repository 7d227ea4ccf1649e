"""Work on later batches while the one before is being used, in the order in which they came."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(
    batches: Iterator[Given], work: Callable[[Given], Made], threads: int | None = None
) -> Iterator[tuple[Given, Made]]:
    """(batch, work(batch)) in order, by so many threads (as there are cores), two batches ahead of each.

    Where `batches` fails, what came before is given first, then the error is raised. For work that
    leaves Python's lock, as Arrow's and Polars' does.
    """
    threads = threads or os.cpu_count() or 1
    waiting: deque[tuple[Given, Future[Made]]] = deque()
    failed: Exception | None = None
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                try:
                    while failed is None and len(waiting) < 2 * threads:
                        batch = next(batches)
                        waiting.append((batch, pool.submit(work, batch)))
                except StopIteration:
                    failed = StopIteration()
                except Exception as error:  # raised again below, once what came before was given
                    failed = error
                if not waiting:
                    break
                batch, made = waiting.popleft()
                yield batch, made.result()
        finally:
            for _, made in waiting:
                made.cancel()
    if failed is not None and not isinstance(failed, StopIteration):
        raise failed
