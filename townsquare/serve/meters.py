"""Meters: figures of the running server in Prometheus' text format. No address with a name in it, no content."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter

from townsquare.serve.answers import Answer

BOUNDS_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meters:
    """Counts since the server started. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._answers: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._times = [0] * (len(BOUNDS_SECONDS) + 1)
        self._seconds = 0.0
        self._started = time.time()

    def request(self, path: str, status: int, seconds: float) -> None:
        """One request whose response has begun; `seconds` is how long that took, for questions the first word."""
        with self._lock:
            self._requests[path, status] += 1
            self._times[bisect_left(BOUNDS_SECONDS, seconds)] += 1
            self._seconds += seconds

    def answer(self, answer: Answer) -> None:
        """One answer that was given."""
        with self._lock:
            self._answers["found" if answer.found else "nothing"] += 1
            if answer.spent:
                self._tokens["read"] += answer.spent.prompt_tokens
                self._tokens["written"] += answer.spent.completion_tokens

    def text(self, *, waiting: int, at_work: int, engine_up: bool) -> str:
        """All figures. `waiting` and `at_work` are requests at the desk now."""
        with self._lock:
            lines = _metric("townsquare_requests_total", "counter", "Requests by address and status.", [
                (f'{{path="{path}",status="{status}"}}', count) for (path, status), count in self._requests.items()
            ])  # fmt: skip
            lines += _metric("townsquare_answers_total", "counter", "Answers, by whether a post was found.", [
                (f'{{outcome="{name}"}}', self._answers[name]) for name in ("found", "nothing")
            ])  # fmt: skip
            lines += _metric("townsquare_tokens_total", "counter", "Tokens of the engine, read and written.", [
                (f'{{kind="{name}"}}', self._tokens[name]) for name in ("read", "written")
            ])  # fmt: skip
            lines += self._histogram()
        for name, text, value in (
            ("waiting", "Requests that wait for the engine.", waiting),
            ("at_work", "Requests that are being answered.", at_work),
            ("engine_up", "Whether the engine answered when last asked.", int(engine_up)),
            ("start_time_seconds", "When the server started.", self._started),
        ):
            lines += _metric(f"townsquare_{name}", "gauge", text, [("", value)])
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, below, rows = "townsquare_first_byte_seconds", 0, []
        for bound, count in zip([*map(str, BOUNDS_SECONDS), "+Inf"], self._times, strict=True):
            below += count
            rows.append((f'_bucket{{le="{bound}"}}', below))
        return _metric(name, "histogram", "Time to the beginning of a response.", [
            *rows, ("_sum", round(self._seconds, 6)), ("_count", below)
        ])  # fmt: skip


def _metric(name: str, kind: str, text: str, rows: list[tuple[str, float]]) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *(f"{name}{label} {value}" for label, value in rows)]
