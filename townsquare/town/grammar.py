"""The grammar of the talk files: `(a|b|)` is a choice, `{x}` a slot. Choices are spelled out once, slots at use.

A bank holds every spelling of some templates as %-format strings, so that a sentence costs one draw
and one format.
"""

from __future__ import annotations

import functools
import itertools
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

MOST_VARIANTS = 240
"""Spellings kept of one template, so that one with many choices does not drown the others."""

Bank = tuple[str, ...]
_SLOT = re.compile(r"\{(\w+)\}")
_TOKEN = re.compile(r"[()|]|[^()|]+")


@functools.cache
def read_talk(name: str) -> dict[str, Any]:
    """One file of talk/, parsed."""
    text = resources.files("townsquare.town").joinpath("talk", f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def spellings(template: str) -> list[str]:
    """All spellings of a template, slots untouched. Raises ValueError when its brackets do not match."""
    tokens = _TOKEN.findall(template)
    found, rest = _sequence(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"brackets do not match in {template!r}")
    return found


def _sequence(tokens: Sequence[str], at: int, *, nested: bool = False) -> tuple[list[str], int]:
    parts: list[list[str]] = []
    options: list[str] = []
    while at < len(tokens) and not (tokens[at] == ")" and nested):
        token = tokens[at]
        if token == "(":
            inner, at = _sequence(tokens, at + 1, nested=True)
            if at >= len(tokens):
                raise ValueError("a bracket is never closed")
            parts.append(inner)
        elif token == ")":
            return ["".join(p) for p in itertools.product(*parts)], at
        elif token == "|" and nested:
            options += ["".join(p) for p in itertools.product(*parts)]
            parts = []
        else:
            parts.append([token])
        at += 1
    return options + ["".join(p) for p in itertools.product(*parts)], at


def bank(templates: Iterable[str]) -> Bank:
    """Every template's spellings, at most MOST_VARIANTS each, as format strings of %(slot)s."""
    found: list[str] = []
    for template in templates:
        spelled = spellings(template)
        step = max(1, -(-len(spelled) // MOST_VARIANTS))
        # A stride that shares no factor with the choices' counts reaches all of them.
        while step > 1 and any(step % prime == 0 for prime in (2, 3, 5, 7)):
            step += 1
        found += [_SLOT.sub(r"%(\1)s", " ".join(text.replace("%", "%%").split(" "))) for text in spelled[::step]]
    return tuple(found)


class Slots(dict[str, Any]):
    """What a thread talks about: a slot that is not set yet is drawn from the words once, and kept."""

    def __init__(self, given: Mapping[str, Any], words: Mapping[str, Sequence[str]], random: Callable[[], float]):
        super().__init__(given)
        self._words, self._random = words, random

    def __missing__(self, name: str) -> str:
        words = self._words.get(name) or self._words[name.rstrip("0123456789")]
        value = words[int(self._random() * len(words))]
        self[name] = value
        return value
