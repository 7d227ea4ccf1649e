"""What a model is scored on: one task a file. A new task is a new file, a line here, and its test.

A task is a module with NAME, ABOUT (one sentence: what is measured) and run(subject) -> Outcome. Where
something that it needs is absent, run raises StaleError that says so: it is then skipped, never scored as zero.
"""

from __future__ import annotations

from types import ModuleType

from townsquare.evaluate.tasks import (
    bits_per_byte,
    town_closed_book,
    town_filters,
    town_open_book,
    town_unanswerable,
)

TASKS: tuple[ModuleType, ...] = (bits_per_byte, town_closed_book, town_open_book, town_unanswerable, town_filters)
