"""Answers as JSON: each value in it is checked against the posts, as each sentence of a plain answer is.

JSON cannot be shortened to what stands, as a plain answer is. So every text and number in it is told with the
posts that support it, or as the model's own; where not one is supported there is no JSON, but a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from townsquare.model import chat
from townsquare.model.chat import Turn
from townsquare.serve import citations
from townsquare.serve.answers import Sentence
from townsquare.serve.citations import Source

UNFINISHED = "The answer is longer than max_tokens lets it be, so that it is no JSON."


def instructed(turns: Sequence[Turn], schema: str) -> list[Turn]:
    """The turns with the wish for JSON at their end."""
    wish = "Reply with JSON alone" + ("" if schema == "{}" else f" that fits this schema: {schema}")
    role, text = turns[-1]
    return [*turns[:-1], (role, f"{text}\n{chat.neutral(wish)}")]


def checked(reply: str, sources: Sequence[Source]) -> tuple[str | None, list[Sentence]]:
    """Why the reply is refused, or None; and the texts and numbers in it, each with the posts that support it."""
    try:
        values = list(dict.fromkeys(_values(json.loads(reply))))
    except (ValueError, RecursionError):
        return UNFINISHED, []
    every = range(1, len(sources) + 1)
    found = [citations.check(value, every, sources) for value in values]
    return (None, found) if any(sentence.supported for sentence in found) else (chat.NOTHING_FOUND, [])


def _values(part: Any) -> Iterator[str]:
    """Its texts and numbers, in order; names of fields are the asker's."""
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _values(inner)
    elif isinstance(part, str) or (isinstance(part, int | float) and not isinstance(part, bool)):
        yield str(part)
