"""Counts of answers for the ledger: how many, for which key, with how many posts cited. Never a word of them."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from townsquare.errors import TownsquareError
from townsquare.ledger import Ledger
from townsquare.serve.answers import Answer
from townsquare.square import Square

SECONDS = 600.0
"""Between two rows while answers are given: what a server that is killed may leave uncounted."""

log = logging.getLogger("townsquare.serve")


class Tally:
    """Counts answers and puts the counts into the ledger, as rows of kind `answers`. Safe for threads."""

    def __init__(self, square: Square) -> None:
        self._square = square
        self._lock = threading.Lock()
        self._since = _now()
        self._counts: dict[str, Counter[str]] = {}

    def count(self, answer: Answer, key: str = "") -> None:
        """One answer that was given, to the key of that id; a server without keys, and a terminal, have none."""
        spent = answer.spent
        self._add(key, Counter(
            answers=1,
            nothing_found=int(not answer.found),
            posts_cited=len(answer.citations),
            tokens_read=spent.prompt_tokens if spent else 0,
            tokens_written=spent.completion_tokens if spent else 0,
        ))  # fmt: skip

    def _add(self, key: str, counts: Counter[str]) -> None:
        with self._lock:
            self._counts.setdefault(key, Counter()).update(counts)

    def record(self) -> None:
        """One row of what was counted since the last; none where no answer was given. Raises what the ledger raises."""
        with self._lock:
            since, counts = self._since, self._counts
            self._since, self._counts = _now(), {}
        if not counts:
            return
        whole: Counter[str] = sum(counts.values(), Counter())
        keys = {key: own["answers"] for key, own in sorted(counts.items()) if key}
        try:
            with Ledger.open(self._square) as ledger:
                ledger.append("answers", {"since": since, "until": self._since, **whole, "answers_by_key": keys})
        except TownsquareError:
            for key, own in counts.items():
                self._add(key, own)
            self._since = since
            raise

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record every SECONDS, and once more at the end. A ledger that is away meanwhile is tried again."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(SECONDS):
                try:
                    self.record()
                except TownsquareError as error:
                    log.warning("answers are not in the ledger yet: %s", error)

        thread = threading.Thread(target=work, name="tally", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.record()


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
