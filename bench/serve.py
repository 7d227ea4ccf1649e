"""Many conversations at once against one server: `python bench/serve.py [STREAMS] [SECONDS]`.

Two parts in one run. First what the gateway adds: an engine of a fixed pace (a token each 5 ms, 64 at once) is asked
bare, and through the server with search, check and streaming; the ratio of their times for an answer is the claim.
Then STREAMS readers ask without a pause for SECONDS, some of them leaving in mid-answer or reading slowly: errors,
answers a second, the slowest tenth, memory at the beginning and at the end, and how two keys shared the engine.
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
from townsquare.serve.engines import Sampling, Spent
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

    name, parallel = "paced", 64

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str | Spent]:
        for number in range(TOKENS):
            time.sleep(TOKEN_SECONDS)
            yield f"word{number} " if number % 12 else "So it is said. "
        yield Spent(100, TOKENS)

    def close(self) -> None:
        """Nothing is held."""


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
def served(square: Square, keys: Keys) -> Iterator[str]:
    with (
        listen("127.0.0.1", 0) as listening,
        contextlib.closing(Desk(Assistant(square, ServeConfig(), Paced()))) as desk,
    ):
        server = Server(make_app(desk, lambda: Facts((), ()), keys, dict))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


async def ask(http: httpx.AsyncClient, key: str, number: int, *, leave: bool = False, slow: bool = False) -> bool:
    """One streamed answer; whether it ended as it should."""
    question = f"When does the {PLACES[number % 12]} open?"
    body = {"model": "paced", "stream": True, "messages": [{"role": "user", "content": question}]}
    async with http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}
    ) as reply:
        if reply.status_code != 200:
            return False
        async for line in reply.aiter_lines():
            if leave:
                return True
            if slow:
                await asyncio.sleep(0.05)
            if line == "data: [DONE]":
                return True
    return False


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
                outcomes["ended" if ended else "error"] += 1
                outcomes[f"key {int(key)}"] += 1
                if odd not in (3, 5):
                    times.append(time.monotonic() - began)
                turn += streams

        await asyncio.gather(*(reader(number) for number in range(streams)))
    return outcomes, times


async def alone(address: str, key: str, asks: int) -> float:
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        began = time.monotonic()
        for number in range(asks):
            assert await ask(http, key, number)
        return (time.monotonic() - began) / asks


def main(streams: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        square = made(Path(folder))
        with contextlib.closing(Keys.open(square)) as keys:
            limits = Limits(requests_per_minute=1_000_000, tokens_per_day=10**12)
            texts = [keys.add(name, limits, time.time())[1] for name in ("many", "few")]
            with served(square, keys) as address:
                began = time.monotonic()
                for _ in range(10):
                    list(Paced().stream([], Sampling()))
                bare = (time.monotonic() - began) / 10
                asyncio.run(alone(address, texts[0], 3))
                through = asyncio.run(alone(address, texts[0], 20))
                print(
                    f"an answer of {TOKENS} tokens: bare {1000 * bare:.0f} ms, "
                    f"through the server {1000 * through:.0f} ms; it adds {100 * (through / bare - 1):.1f} %"
                )
                asyncio.run(load(address, texts, streams, 5))
                before = resident_bytes()
                outcomes, times = asyncio.run(load(address, texts, streams, seconds))
                after = resident_bytes()
    times.sort()
    print(
        f"{streams} streams for {seconds:.0f} s: {dict(outcomes)}; {outcomes['ended'] / seconds:.1f} answers/s; median "
        f"{times[len(times) // 2]:.2f} s, 90 % {times[len(times) * 9 // 10]:.2f} s, slowest {times[-1]:.2f} s; "
        f"memory {before / 1e6:.0f} -> {after / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    given = [float(text) for text in sys.argv[1:]]
    main(int(given[0]) if given else 64, given[1] if len(given) > 1 else 300.0)
