"""Values of facts and how people write them: times, weekdays, dates, money, people, places, scores, years.

The first spelling of a value is its plain form; a post may use any, and any is a right answer.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
HOURS = ("twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


def clock(minutes: int) -> tuple[str, ...]:
    """Spellings of a time of day, given in minutes since midnight, a multiple of 15."""
    hour, minute = divmod(minutes, 60)
    short, half = (hour - 1) % 12 + 1, "am" if hour < 12 else "pm"
    word, following = HOURS[short % 12], HOURS[(short + 1) % 12]
    if minute == 0:
        forms = [f"{short} {half}", f"{short}{half}", f"{short}:00 {half}", f"{word} o'clock"]
    else:
        said = {15: f"quarter past {word}", 30: f"half past {word}", 45: f"quarter to {following}"}[minute]
        forms = [f"{short}:{minute:02d}", f"{short}.{minute:02d}", f"{short}:{minute:02d} {half}", said]
    if hour >= 13 or minute == 0:
        forms.append(f"{hour}:{minute:02d}")
    return tuple(forms)


def weekday(index: int) -> tuple[str, ...]:
    return (WEEKDAYS[index],)


def date(day_of_year: int) -> tuple[str, ...]:
    """Spellings of a day of a leap year, counted from 0."""
    month = 0
    while day_of_year >= MONTH_DAYS[month]:
        day_of_year -= MONTH_DAYS[month]
        month += 1
    day, name = day_of_year + 1, MONTHS[month]
    ending = "th" if 10 <= day <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return (
        f"{day} {name}",
        f"{name} {day}",
        f"{day}{ending} {name}",
        f"{name} {day}{ending}",
        f"the {day}{ending} of {name}",
    )


def money(cents: int) -> tuple[str, ...]:
    whole, part = divmod(cents, 100)
    euros = "euro" if whole == 1 else "euros"
    if part:
        text = f"{whole}.{part:02d}"
        return (f"€{text}", f"{text} euros", f"{whole} {euros} {part:02d}", f"{text}€")
    return (f"€{whole}", f"{whole} {euros}", f"{whole}€", f"€{whole}.00")


def score(goals: tuple[int, int]) -> tuple[str, ...]:
    home, away = goals
    return (f"{home}-{away}", f"{home}:{away}", f"{home} to {away}", f"{home}–{away}")


def plain(name: str) -> tuple[str, ...]:
    return (name,)


def number(value: int) -> tuple[str, ...]:
    return (str(value),)


def _times(first_hour: int, last_hour: int) -> Callable[[Random], tuple[str, ...]]:
    return lambda random: clock(15 * random.randrange(first_hour * 4, last_hour * 4 + 1))


def _prices(least: int, most: int, step: int) -> Callable[[Random], tuple[str, ...]]:
    return lambda random: money(step * random.randrange(least // step, most // step + 1))


DRAWS: dict[str, Callable[[Random], tuple[str, ...]]] = {
    "morning": _times(6, 11),
    "early": _times(4, 7),
    "evening": _times(16, 21),
    "late": _times(21, 23),
    "afternoon": _times(13, 20),
    "weekday": lambda random: weekday(random.randrange(7)),
    "day": lambda random: date(random.randrange(120, 270)),
    "small_price": _prices(120, 980, 10),
    "fare": _prices(150, 640, 10),
    "ticket": _prices(400, 2600, 100),
    "fee": _prices(3000, 18000, 500),
    "minutes": lambda random: number(random.choice((7, 8, 9, 11, 12, 14, 16, 18, 22, 24, 25, 35))),
    "year": lambda random: number(random.randrange(1741, 1969)),
    "score": lambda random: score(random.choice([(h, a) for h in range(1, 8) for a in range(h)])),
}
"""How to draw a value of each kind; people and places are drawn from the world."""
