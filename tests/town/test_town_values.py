"""Values against the standard library's clock and calendar; personal data against the published check rules."""

from __future__ import annotations

import datetime as dt
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.town import values
from townsquare.town.names import Names
from townsquare.town.noise import Noise
from townsquare.town.threads import Talk, Talker
from townsquare.town.world import World

SPOKEN = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12,
}  # fmt: skip


def minutes_on_a_dial(form: str) -> int:
    """A time's position on a twelve-hour dial, read in ways of its own."""
    for pattern in ("%I:%M %p", "%I %p", "%I%p", "%I.%M", "%H:%M"):
        try:
            read = dt.datetime.strptime(form, pattern)
        except ValueError:
            continue
        return (read.hour * 60 + read.minute) % 720
    words = form.split()
    if words[-1] == "o'clock":
        return SPOKEN[words[0]] * 60 % 720
    shift = {"quarter past": 15, "half past": 30, "quarter to": -15}[" ".join(words[:2])]
    return (SPOKEN[words[2]] * 60 + shift) % 720


@given(st.integers(0, 95))
def test_all_spellings_of_a_time_are_that_time(quarter: int) -> None:
    forms = values.clock(15 * quarter)
    assert {minutes_on_a_dial(form) for form in forms} == {15 * quarter % 720}
    assert len(set(forms)) == len(forms)


@given(st.integers(0, 365))
def test_all_spellings_of_a_day_are_that_day(day: int) -> None:
    real = dt.date(2024, 1, 1) + dt.timedelta(days=day)
    for form in values.date(day):
        assert f"{real:%B}" in form
        assert re.findall(r"\d+", form) == [str(real.day)]


@given(st.integers(100, 99_999))
def test_all_spellings_of_a_price_are_that_price(cents: int) -> None:
    for form in values.money(cents):
        whole, _, part = re.sub(r"[^\d.]", "", re.sub(r" euros? (?=\d)", ".", form)).partition(".")
        assert int(whole) * 100 + int(part or 0) == cents


@pytest.fixture(scope="module")
def noise() -> Noise:
    world = World(500, 5)
    return Noise(Talker(world, Talk(), Random(5)))


def passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def test_personal_data_is_well_formed_and_nobody_s(noise: Noise) -> None:
    """Checks of ISO 13616 and ISO 7812; ranges of RFC 5737 and RFC 2606, Ofcom's and NANPA's for fiction."""
    person = noise.talker.world.people[0]
    for _ in range(200):
        iban = noise._iban(person).replace(" ", "")
        moved = "".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])
        assert len(iban) == 22
        assert int(moved) % 97 == 1
        assert iban[4:12] == "00000000"  # a bank code that is not given out
        card = noise._card(person).replace(" ", "")
        assert len(card) == 16
        assert passes_luhn(card)
        assert card.startswith("424242")
        assert re.fullmatch(r"01632 960\d{3}|\(\d{3}\) 555-01\d\d", noise._phone(person))
        assert re.fullmatch(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}", noise._ip(person))
        assert re.search(r"@(mail\.example|example\.(org|com|net))$", noise._email(person))


def test_names_are_never_given_twice() -> None:
    names = Names(Random(2))
    people = [names.person() for _ in range(5_000)]
    handles = [names.handle(*person).lower() for person in people]
    things = [names.thing("%s Bakery") for _ in range(40_000)]
    assert len(set(people)) == len(people)
    assert len(set(handles)) == len(handles)
    assert max(map(len, handles)) <= 15
    assert len(set(things)) == len(things)
