"""What a model is scored on: one task a file. A new task is a new file, a line here, and its test.

A task is a module with NAME, ABOUT (one sentence: what is measured) and run(subject) -> Outcome. Where
something that it needs is absent, run raises StaleError that says so: it is then skipped, never scored as zero.
"""

from __future__ import annotations

from types import ModuleType

from townsquare.evaluate.tasks import (
    arc_easy,
    bits_per_byte,
    flagged,
    gsm8k,
    memorisation,
    mmlu,
    town_closed_book,
    town_extraction,
    town_filters,
    town_open_book,
    town_removed,
    town_retrieval,
    town_unanswerable,
)

TASKS: tuple[ModuleType, ...] = (
    bits_per_byte, town_closed_book, town_open_book, town_retrieval, town_unanswerable, town_removed, memorisation,
    town_extraction, flagged, town_filters, arc_easy, gsm8k, mmlu,
)  # fmt: skip
