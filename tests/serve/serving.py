"""A server on a free loopback port, and an assistant that answers from a list."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from townsquare.consent.grants import Grant
from townsquare.errors import InputError
from townsquare.model.chat import NOTHING_FOUND, Turn
from townsquare.serve.answers import Answer, Citation, Sentence
from townsquare.serve.api import Facts, Office, Overview, make_app
from townsquare.serve.desk import Answering, Desk
from townsquare.serve.engines import Sampling
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.keys import Keys
from townsquare.serve.opinions import Opinion
from townsquare.serve.server import Server, listen
from townsquare.serve.tally import Tally
from townsquare.square import Square

MODEL = "chat"
HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'

LIBRARY = Citation(
    number=1,
    uid="masto:https://town.example/@ana/1",
    author_handle="ana@town.example",
    author="masto:11",
    created_at="2026-03-10T08:12:00+00:00",
    text="The library on Mill Street opens at nine on Saturdays, and the reading room stays open until six.",
    url="https://town.example/@ana/1",
    network="masto",
)
BAKERY = dataclasses.replace(
    LIBRARY,
    number=2,
    uid="x:200",
    author_handle="ben_bakes",
    author="x:22",
    created_at="2026-03-11T17:40:00+00:00",
    text="Went before work again & the door was still shut 😅 nine sharp, they said,\nand not a minute earlier",
    url=None,
    network="x",
)
ANSWER = Answer(
    text="The library on Mill Street opens at nine on Saturdays. [1] It does not open early. [2] Bring a coat.",
    sentences=(
        Sentence("The library on Mill Street opens at nine on Saturdays.", (1,), True, True),
        Sentence("It does not open early.", (2,), True, False),
        Sentence("Bring a coat.", (), False, False),
    ),
    citations=(LIBRARY, BAKERY),
    as_of="2026-03-12",
    found=True,
    engine=MODEL,
)
NOTHING = Answer(NOTHING_FOUND, (Sentence(NOTHING_FOUND, (), False, False),), (), "2026-03-12", False, MODEL)


class FakeEngine:
    name = MODEL
    parallel = 1
    offers = frozenset({"json"})


class FakeAssistant:
    """Answers with `answer`, word by word, as long as `error` is None. `pause` runs before each piece."""

    def __init__(self, answer: Answer = ANSWER) -> None:
        self.engine = FakeEngine()
        self.answer = answer
        self.posts = {citation.uid: citation for citation in answer.citations}
        self.asked: list[tuple[list[Turn], Sampling]] = []
        self.filters: list[Filters] = []
        self.around: tuple[list[Citation], list[Citation]] = ([], [])
        self.opinions: list[Opinion] = []
        self.error: Exception | None = None
        self.error_after = 0  # pieces
        self.pause: Callable[[int], None] = lambda piece: None
        self.at_work = 0
        self.most_at_work = 0
        self.ended = threading.Semaphore(0)  # released whenever an answer has ended, however

    def stream(
        self,
        messages: Sequence[Turn],
        sampling: Sampling = Sampling(),
        stopped: Callable[[], bool] = lambda: False,
        *,
        filters: Filters = NONE,
    ) -> Iterator[str | Answer]:
        self.filters.append(filters)
        self.asked.append((list(messages), sampling))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            for number, word in enumerate(self.answer.text.split(" ")):
                if self.error and number == self.error_after:
                    raise self.error
                self.pause(number)
                yield word if number == 0 else f" {word}"
            yield self.answer
        finally:
            self.at_work -= 1
            self.ended.release()

    def post(self, uid: str) -> Citation | None:
        return self.posts.get(uid)

    def thread(self, uid: str) -> tuple[list[Citation], list[Citation]]:
        return self.around

    def judge(self, opinion: Opinion) -> None:
        self.opinions.append(opinion)


def facts_of(*grantors: str, examples: tuple[str, ...] = ()) -> Facts:
    """Facts of a square with a grant from each."""
    grants = (Grant(f"g{n}", who, "us", ("retrieve", "display"), sources=("*",)) for n, who in enumerate(grantors))
    return Facts(tuple(grants), examples, posts=1234, newest="2026-03-12")


def looked_up(name: str) -> dict[str, Any]:
    """Stands in for `townsquare lookup`."""
    if not name.startswith("@"):
        raise InputError("that names nobody", remedy="Write @handle.")
    return {"known": name == "@ana", "posts": {"live": 3} if name == "@ana" else {}, "copies": {"index": 2},
            "models_that_saw_them": {"chat": 3} if name == "@ana" else {}, "takedowns": []}  # fmt: skip


class NoLedger(Tally):
    """Counts, and records nothing."""

    def __init__(self) -> None:
        super().__init__(Square(Path("/nonexistent"), {}))

    def record(self) -> None:
        pass


@contextlib.contextmanager
def serving(
    assistant: Answering,
    facts: Facts | None = None,
    keys: Keys | None = None,
    *,
    overview: Overview = lambda: {"square": "town", "at": "2026-03-12T08:00:00+00:00", "broken": "row 3 was altered"},
    tally: Tally | None = None,
) -> Iterator[str]:
    """The address of a server, such as http://127.0.0.1:40123, as long as the block runs."""
    known = facts or facts_of("Town Forum Ltd")
    none = Keys("sqlite://", Path("/nonexistent/keys.sqlite"))
    with listen("127.0.0.1", 0) as listening, contextlib.closing(Desk(assistant)) as desk:
        server = Server(make_app(desk, lambda: known, keys or none, Office(looked_up, overview, tally or NoLedger())))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def raw(address: str) -> socket.socket:
    """A connection to a server's address, with nothing sent yet."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(20)
    return connection


def unchunked(body: bytes) -> bytes:
    """The body of a response with Transfer-Encoding: chunked."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
