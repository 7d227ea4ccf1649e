"""The grammar against an independent count and Python's own formatting; the talk files against their slots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.town.grammar import Slots, bank, read_talk, spellings
from townsquare.town.threads import Talk
from townsquare.town.voice import write
from townsquare.town.world import Person, World

words = st.text(alphabet="abc {}x", min_size=1, max_size=4).map(lambda s: s.replace("{", "").replace("}", "") or "a")
trees = st.recursive(
    words,
    lambda inner: st.lists(st.lists(inner, min_size=1, max_size=3), min_size=2, max_size=3),
    max_leaves=8,
)


def written(tree: Any) -> str:
    """A tree of choices (a list of sequences) or a word, as a template."""
    return tree if isinstance(tree, str) else "(" + "|".join("".join(map(written, seq)) for seq in tree) + ")"


def every_way(tree: Any) -> set[str]:
    """All that the template can spell, counted from the tree and not from its text."""
    if isinstance(tree, str):
        return {tree}
    found: set[str] = set()
    for sequence in tree:
        ways = {""}
        for part in sequence:
            ways = {start + end for start in ways for end in every_way(part)}
        found |= ways
    return found


@given(trees)
def test_a_template_spells_exactly_what_its_tree_does(tree: Any) -> None:
    assert set(spellings(written(tree))) == every_way(tree)


@pytest.mark.parametrize("template", ["(a|b", "a)b", "((a|b)"])
def test_brackets_must_match(template: str) -> None:
    with pytest.raises(ValueError, match=r"match|closed"):
        spellings(template)


def test_a_bank_is_ready_to_format_and_bounded() -> None:
    assert bank(["(two|three) {n} at 5%"]) == ("two %(n)s at 5%%", "three %(n)s at 5%%")
    many = bank(["".join("(a|b|c|d)" for _ in range(6))])
    assert 100 <= len(many) <= 240
    assert {text[-1] for text in many} == set("abcd")  # a cut keeps every choice


def test_a_slot_is_drawn_once_and_kept() -> None:
    slots = Slots({}, {"dish": [f"dish {i}" for i in range(1000)]}, Random(1).random)
    assert slots["dish"] == slots["dish"]
    assert "%(dish)s" % slots == slots["dish"]  # noqa: UP031
    assert slots["dish2"].startswith("dish ")


def templates(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for item in value:
            yield from templates(item, path)
    else:
        for key, item in value.items():
            if key not in ("words", "spam", "bots", "low"):
                yield from templates(item, f"{path}.{key}")


@pytest.mark.parametrize("name", ["facts", "daily", "talk", "noise", "languages"])
def test_every_spelling_is_clean(name: str) -> None:
    for path, template in templates(read_talk(name), name):
        for text in spellings(template):
            assert not re.search(r"  |^ | $| [,!?:;]|[(|)]|,,", re.sub(r"<\||\|>", "", text)), f"{path}: {text!r}"


def test_every_fact_can_be_stated_asked_and_asked_about() -> None:
    world, talk = World(2_000, 3), Talk()
    for fact in world.facts:
        entry = talk.facts[fact.attribute]
        for template in entry["statements"]:
            said = template % {**fact.slots, "v": "VALUE"}
            assert "VALUE" in said
            assert fact.subject in said
        for template in (*entry["clauses"], *entry["questions"]):
            assert fact.subject in template % fact.slots
        assert not {text.lower() for text in entry["questions"]} & {text.lower() for text in entry["clauses"]}


@given(st.integers(0, 10**6), st.sampled_from(["good", "bad", "plain", "laugh"]))
def test_no_way_of_writing_harms_names_numbers_or_hours(seed: int, mood: str) -> None:
    random = Random(seed)
    world = World(100, seed % 7)
    person: Person = random.choice(world.people)
    text = "the boat leaves Brindlewick Hall at 7:45 or half past eleven for €4.50 because you really are going to"
    out = write(person, text, mood, "Brindle", random.random).lower()
    for kept in ("brindlewick hall", "7:45", "half past eleven", "€4.50"):
        assert kept in out
