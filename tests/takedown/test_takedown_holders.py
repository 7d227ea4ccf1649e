"""Whoever holds copies of posts offers to erase and to find them, in the form that a takedown calls."""

from __future__ import annotations

import importlib
import inspect

import pytest

from townsquare.square import Square
from townsquare.takedown.copies import HOLDERS, erase_everywhere, find_everywhere


@pytest.mark.parametrize("part", HOLDERS)
def test_every_holder_erases_and_finds(part: str) -> None:
    module = importlib.import_module(f"townsquare.{part}.copies")
    assert list(inspect.signature(module.erase).parameters) == ["square", "uids", "texts"]
    assert list(inspect.signature(module.find).parameters) == ["square", "uids", "texts"]


def test_in_an_empty_square_there_is_nothing_to_erase_or_find(square: Square) -> None:
    uids = frozenset({"x:1"})
    texts = ["a text that nobody wrote here"]
    erased, found = erase_everywhere(square, uids, texts), find_everywhere(square, uids, texts)
    assert set(erased.values()) <= {0}
    assert set(found.values()) == {0}
    assert erased.keys() <= found.keys(), "what is erased must be searched"
    assert len(found) >= len(HOLDERS)
