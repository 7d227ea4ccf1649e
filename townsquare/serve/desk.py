"""The desk: where requests wait for the one engine, and are answered in the order in which they came."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from townsquare.errors import TownsquareError
from townsquare.model.chat import Turn
from townsquare.serve.answers import Answer, Citation
from townsquare.serve.engines import Engine, EngineError, Sampling

MOST_WAITING = 128  # requests; an answer takes seconds, so the last of more would wait longer than clients do
AWAY_SECONDS = 10.0  # how long after a failure the engine counts as away; the next success ends it sooner


class Answering(Protocol):
    """What the desk asks of the assistant."""

    engine: Engine

    def stream(
        self, messages: Sequence[Turn], sampling: Sampling, stopped: Callable[[], bool]
    ) -> Iterator[str | Answer]:
        """Pieces of text, then the Answer; soon after `stopped` is true, no more."""
        ...

    def post(self, uid: str) -> Citation | None:
        """A post that may be displayed now, or None."""
        ...


class BusyError(TownsquareError):
    """More requests wait than can be answered soon."""


class Desk:
    """Runs every answer on one thread of its own: the engine never meets two at once, nor two threads."""

    def __init__(self, assistant: Answering) -> None:
        self.assistant = assistant
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._inside = 0
        self._failed_at: float | None = None
        self._closing = threading.Event()

    async def stream(self, messages: Sequence[Turn], sampling: Sampling) -> AsyncGenerator[str | Answer, None]:
        """Pieces of text, then the Answer. Raises BusyError, and whatever the assistant raises.

        However slowly the caller takes them, the engine goes on to the next request; when the caller
        leaves (closes this iterator), the engine stops at its next token.
        """
        if self._inside >= MOST_WAITING:
            raise BusyError("too many requests are waiting", remedy="Ask again in a few seconds.")
        pieces: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()
        loop, left = asyncio.get_running_loop(), threading.Event()

        def work() -> None:
            for piece in self._answer(messages, sampling, left):
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        self._inside += 1
        job = self._thread.submit(work)
        try:
            while not isinstance(piece := await pieces.get(), Answer):
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            yield piece
        finally:
            left.set()
            job.cancel()
            self._inside -= 1

    def _answer(
        self, messages: Sequence[Turn], sampling: Sampling, left: threading.Event
    ) -> Iterator[str | Answer | Exception]:
        """On the engine's thread: what the assistant says; an error, or an end without an answer, is told last."""

        def stopped() -> bool:
            return left.is_set() or self._closing.is_set()

        try:
            if self._closing.is_set():
                raise EngineError("the server is stopping", remedy="Ask again when it is back.")
            with contextlib.ExitStack() as stack:
                stream = self.assistant.stream(messages, sampling, stopped)
                if hasattr(stream, "close"):  # a generator: leaving it stops the engine now, not when it is collected
                    stack.callback(stream.close)
                for piece in stream:
                    if stopped():
                        break
                    yield piece
                    if isinstance(piece, Answer):
                        self._failed_at = None
                        return
            yield EngineError("the answer was broken off", remedy="Ask again.")
        except Exception as error:
            if isinstance(error, EngineError):
                self._failed_at = time.monotonic()
            yield error

    def engine_away(self) -> bool:
        """Whether the engine failed moments ago and has not answered since."""
        return self._failed_at is not None and time.monotonic() - self._failed_at < AWAY_SECONDS

    def close(self) -> None:
        """Stop the answer at work at its next piece, turn away those that wait, and end the thread."""
        self._closing.set()
        self._thread.shutdown(wait=True)
