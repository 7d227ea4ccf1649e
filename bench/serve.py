"""Many conversations at once against one server: `python bench/serve.py [STREAMS] [SECONDS] [MODEL.gguf]`.

The engine has a fixed pace (a token each 5 ms, 64 at once), or is llama.cpp with a model. Four parts in one run.
What the gateway adds: the engine is asked bare, and through the server with keys, search, check and streaming; the
ratio of their times for a token is the claim. Then STREAMS readers ask without a pause for SECONDS, some of them
leaving in mid-answer or reading slowly, while the engine is away for a twentieth of the time: errors, answers a second,
the slowest tenth, memory at the beginning and at the end, how two keys shared the engine. Then more ask at once than
may wait; and last the server is told to stop in the midst of answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from townsquare.consent.grants import Grant, add_grant
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.model.chat import Turn
from townsquare.serve.api import Facts, make_app
from townsquare.serve.assistant import Assistant
from townsquare.serve.config import IndexConfig, Limits, ServeConfig
from townsquare.serve.desk import Desk
from townsquare.serve.engines import Engine, EngineError, Sampling, Spent
from townsquare.serve.engines.llamacpp import LlamaCpp
from townsquare.serve.keys import Keys
from townsquare.serve.run import run as build_index
from townsquare.serve.server import Server, listen
from townsquare.square import Square

TOKENS, TOKEN_SECONDS = 60, 0.005
PLACES = [
    f"{first} {kind}" for first in ("Harbour", "Mill", "Station", "Quayside") for kind in ("Bakery", "Library", "Pool")
]


class Paced:
    """An engine whose pace is known, so that what is measured is the rest."""

    name, parallel, offers = "model", 64, frozenset[str]()

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str | Spent]:
        for number in range(TOKENS):
            time.sleep(TOKEN_SECONDS)
            yield f"word{number} " if number % 12 else "So it is said. "
        yield Spent(100, TOKENS)

    def close(self) -> None:
        """Nothing is held."""


class Watched:
    """An engine that can be away, and that notes what it was asked and how many pieces it gave."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.name, self.parallel, self.offers = engine, "model", engine.parallel, engine.offers
        self.away, self.pieces = False, 0
        self.asked: list[tuple[Sequence[Turn], Sampling]] = []

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str | Spent]:
        self.asked = [*self.asked[-99:], (messages, sampling)]
        stream = self.engine.stream(messages, sampling)
        try:
            for piece in stream:
                if self.away:
                    raise EngineError("the engine was killed", remedy="Start it again.")
                self.pieces += 1
                yield piece
        finally:
            stream.close()  # type: ignore[attr-defined]

    def close(self) -> None:
        self.engine.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def made(folder: Path) -> Square:
    square = Square.create(folder / "square")
    rows = [
        {"id": str(n), "author": f"a{n % 97}", "created_at": "2026-01-01T00:00:00Z",
         "text": f"The {PLACES[n % 12]} opens at {n % 12 + 1}:{n % 60:02d} on day {n}"} for n in range(5_000)
    ]  # fmt: skip
    (folder / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ingest(square, IngestConfig(paths=(folder / "posts.jsonl",), name="posts"))
    add_grant(square, Grant("all", "Owner", "User", ("retrieve", "display"), sources=("*",)))
    build_index(square, IndexConfig())
    return square


@contextlib.contextmanager
def served(square: Square, keys: Keys, engine: Engine) -> Iterator[tuple[str, Server]]:
    with (
        listen("127.0.0.1", 0) as listening,
        contextlib.closing(Desk(Assistant(square, ServeConfig(), engine))) as desk,
    ):
        server = Server(make_app(desk, lambda: Facts((), ()), keys, dict))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", server
        server.should_exit = True
        thread.join()


async def ask(http: httpx.AsyncClient, key: str, number: int, *, leave: bool = False, slow: bool = False) -> str:
    """One streamed answer, and how it ended."""
    question = f"When does the {PLACES[number % 12]} open?"
    body = {"model": "model", "stream": True, "max_tokens": TOKENS, "messages": [{"role": "user", "content": question}]}
    async with http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}
    ) as reply:
        if reply.status_code != 200:
            return f"{reply.status_code}{' and when to retry' if 'retry-after' in reply.headers else ''}"
        async for line in reply.aiter_lines():
            if leave:
                return "left"
            if slow:
                await asyncio.sleep(0.05)
            if line == "data: [DONE]":
                return "ended"
            if '"engine_away"' in line:
                return "away in mid-answer"
    return "broken off"


async def load(address: str, keys: list[str], streams: int, seconds: float) -> tuple[Counter[str], list[float]]:
    outcomes: Counter[str] = Counter()
    times: list[float] = []
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:

        async def reader(number: int) -> None:
            turn, key = number, number % 4 == 0  # a quarter of the readers hold the second key
            while time.monotonic() < until:
                began, odd = time.monotonic(), turn % 16
                try:
                    ended = await ask(http, keys[key], turn, leave=odd == 3, slow=odd == 5)
                except httpx.HTTPError as error:
                    outcomes[type(error).__name__] += 1
                    continue
                outcomes[ended] += 1
                outcomes[f"key {int(key)}"] += ended in ("ended", "left")
                if ended.startswith("503"):
                    await asyncio.sleep(0.5)  # as a client does that is told to try again
                if ended == "ended" and odd != 5:
                    times.append(time.monotonic() - began)
                turn += streams

        await asyncio.gather(*(reader(number) for number in range(streams)))
    return outcomes, times


async def alone(address: str, key: str, asks: int) -> float:
    """Seconds that this many answers took, one after the other."""
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        began = time.monotonic()
        for number in range(asks):
            assert await ask(http, key, number) == "ended"
        return time.monotonic() - began


async def burst(address: str, key: str, readers: int) -> Counter[str]:
    """More at once than may wait."""
    limits = httpx.Limits(max_connections=readers)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as http:
        return Counter(await asyncio.gather(*(ask(http, key, number) for number in range(readers))))


async def stopping(address: str, key: str, server: Server) -> Counter[str]:
    """Answers under way while the server is told to stop."""
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        asking = [asyncio.ensure_future(ask(http, key, number)) for number in range(4)]
        await asyncio.sleep(0.5)
        server.should_exit = True
        return Counter(await asyncio.gather(*asking))


def added(address: str, key: str, engine: Watched) -> str:
    """What the server adds to the engine's time for a token."""
    asyncio.run(alone(address, key, 12))
    engine.asked, engine.pieces = [], 0
    through = asyncio.run(alone(address, key, 24)) / engine.pieces
    asked, engine.pieces, began = engine.asked, 0, time.monotonic()
    for turns, sampling in asked:
        list(engine.stream(turns, sampling))
    bare = (time.monotonic() - began) / engine.pieces
    return f"a token: bare {1000 * bare:.2f} ms, through the server {1000 * through:.2f} ms, {through / bare - 1:+.1%}"


def outage(engine: Watched, after: float, seconds: float) -> None:
    time.sleep(after)
    engine.away = True
    time.sleep(seconds)
    engine.away = False


def main(streams: int, seconds: float, model: str | None) -> None:
    engine = Watched(LlamaCpp(Path(model), "model", context_tokens=2048, threads=0) if model else Paced())
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(engine):
        square = made(Path(folder))
        with contextlib.closing(Keys.open(square)) as keys:
            limits = Limits(requests_per_minute=1_000_000, tokens_per_day=10**12)
            texts = [keys.add(name, limits, time.time())[1] for name in ("many", "few")]
            with served(square, keys, engine) as (address, server):
                print(added(address, texts[0], engine), flush=True)
                asyncio.run(load(address, texts, streams, 5))
                before = resident_bytes()
                threading.Thread(target=outage, args=(engine, seconds / 2, seconds / 20)).start()
                outcomes, times = asyncio.run(load(address, texts, streams, seconds))
                after = resident_bytes()
                told(outcomes, times, streams, seconds)
                print(f"memory {before / 1e6:.0f} -> {after / 1e6:.0f} MB", flush=True)
                print(f"320 at once: {dict(asyncio.run(burst(address, texts[0], 320)))}", flush=True)
                print(
                    f"stopped in the midst of 4: {dict(asyncio.run(stopping(address, texts[0], server)))}", flush=True
                )


def told(outcomes: Counter[str], times: list[float], streams: int, seconds: float) -> None:
    times.sort()
    print(
        f"{streams} streams for {seconds:.0f} s: {dict(outcomes)}; {outcomes['ended'] / seconds:.1f} answers/s; median "
        f"{times[len(times) // 2]:.2f} s, 90 % {times[len(times) * 9 // 10]:.2f} s, slowest {times[-1]:.2f} s"
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 64,
        float(given[1]) if len(given) > 1 else 300.0,
        given[2] if len(given) > 2 else None,
    )
