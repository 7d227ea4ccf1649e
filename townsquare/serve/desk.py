"""The desk: where requests wait for the engine. Whoever asks much waits behind whoever asks little."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from townsquare.errors import TownsquareError
from townsquare.model.chat import Turn
from townsquare.serve.answers import Answer, Citation
from townsquare.serve.engines import Engine, EngineError, Sampling
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.opinions import Opinion

MOST_WAITING = 128  # requests; an answer takes seconds, so the last of more would wait longer than clients do
MOST_WAITING_EACH = 96  # of them by one key, so that there is always room for others
AWAY_SECONDS = 10.0  # how long after a failure the engine counts as away; the next success ends it sooner


class Answering(Protocol):
    """What the desk asks of the assistant."""

    engine: Engine

    def stream(
        self,
        messages: Sequence[Turn],
        sampling: Sampling = ...,
        stopped: Callable[[], bool] = ...,
        *,
        filters: Filters = ...,
    ) -> Iterator[str | Answer]:
        """Pieces of text, then the Answer; soon after `stopped` is true, no more."""
        ...

    def post(self, uid: str) -> Citation | None:
        """A post that may be displayed now, or None."""
        ...

    def thread(self, uid: str) -> tuple[list[Citation], list[Citation]]:
        """The posts before and after it in its thread that may be displayed now."""
        ...

    def judge(self, opinion: Opinion) -> None:
        """Keep what a reader thinks of an answer."""
        ...


class BusyError(TownsquareError):
    """More requests wait than can be answered soon."""


class Desk:
    """Runs as many answers at once as the engine batches, each on a thread; the others wait.

    Those who ask take turns, so that one with many requests delays another by one answer and not by all of them.
    """

    def __init__(self, assistant: Answering) -> None:
        self.assistant = assistant
        self._threads = ThreadPoolExecutor(max_workers=assistant.engine.parallel, thread_name_prefix="engine")
        self._free = assistant.engine.parallel
        self._waiting: OrderedDict[str, deque[Callable[[], object]]] = OrderedDict()
        self._inside: Counter[str] = Counter()
        self._failed_at: float | None = None
        self._closing = threading.Event()

    async def stream(
        self, messages: Sequence[Turn], sampling: Sampling, filters: Filters = NONE, *, who: str = ""
    ) -> AsyncGenerator[str | Answer, None]:
        """Pieces of text, then the Answer. Raises BusyError, and whatever the assistant raises.

        However slowly the caller takes them, the engine goes on to the next request; when the caller
        leaves (closes this iterator), the engine stops at its next token.
        """
        if self._inside.total() >= MOST_WAITING or self._inside[who] >= MOST_WAITING_EACH:
            raise BusyError("too many requests are waiting", remedy="Ask again in a few seconds.")
        pieces: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()
        loop, left = asyncio.get_running_loop(), threading.Event()

        def work() -> None:
            try:
                for piece in self._answer(messages, sampling, filters, left):
                    loop.call_soon_threadsafe(pieces.put_nowait, piece)
            finally:
                with contextlib.suppress(RuntimeError):  # the server has gone meanwhile, and so has its loop
                    loop.call_soon_threadsafe(self._next, 1)

        def start() -> Future[None]:
            return self._threads.submit(work)

        self._inside[who] += 1
        self._waiting.setdefault(who, deque()).append(start)
        self._next(0)
        try:
            while not isinstance(piece := await pieces.get(), Answer):
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            yield piece
        finally:
            left.set()
            self._inside[who] -= 1
            self._leave(who, start)

    def _next(self, freed: int) -> None:
        """Start what can be started: of those who wait, whoever was served longest ago."""
        self._free += freed
        while self._free and self._waiting:
            who, jobs = self._waiting.popitem(last=False)
            start = jobs.popleft()
            if jobs:
                self._waiting[who] = jobs  # behind all the others
            self._free -= 1
            start()

    def _leave(self, who: str, start: Callable[[], object]) -> None:
        jobs = self._waiting.get(who, deque())
        if start in jobs:
            jobs.remove(start)
            if not jobs:
                del self._waiting[who]

    @property
    def at_work(self) -> int:
        """Requests that are being answered."""
        return self.assistant.engine.parallel - self._free

    @property
    def waiting(self) -> int:
        """Requests that have not been started yet."""
        return sum(map(len, self._waiting.values()))

    def _answer(
        self, messages: Sequence[Turn], sampling: Sampling, filters: Filters, left: threading.Event
    ) -> Iterator[str | Answer | Exception]:
        """On a thread: what the assistant says; an error, or an end without an answer, is told last."""

        def stopped() -> bool:
            return left.is_set() or self._closing.is_set()

        try:
            if self._closing.is_set():
                raise EngineError("the server is stopping", remedy="Ask again when it is back.")
            with contextlib.ExitStack() as stack:
                stream = self.assistant.stream(messages, sampling, stopped, filters=filters)
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
        """Stop the answers at work at their next piece, turn away those that wait, and end the threads."""
        self._closing.set()
        self._threads.shutdown(wait=True)
