"""Whether an accepted answer stands in a text: by whole words, whatever the case and the spaces.

Numbers are read as people write them: 17:30, 17.30 and "17 : 30" are one number, 3-1 and 3 – 1 are one score,
1,000 is 1000, 5pm is 5 pm. So 7 does not stand in 17:30, nor 3 in 3-1; 17:30 does stand in 17:30-19:00.
"On Thursdays" names Thursday.
What is not seen: a sentence that denies the answer ("not at 17:30") counts as holding it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_THOUSANDS = re.compile(r"(?<![\d.,:])\d{1,3}(?:,\d{3})+(?![\d.,:]*\d)")
_INSIDE = re.compile(r"(?<=\d)(?: ?: ?|[.,])(?=\d)")  # a comma and a space make a list, a stop and a space an end
_DASH = re.compile(r"(?<=\d) ?[-‐‑‒–—−] ?(?=\d)")
_HALF_OF_DAY = re.compile(r"\b(\d[\d:]*) ?([ap])\.? ?m\b\.?")
_APOSTROPHES = re.compile(r"(?<=\w)['’ʼ](?=\w)")
_WEEKDAYS = {
    f"{day}days": f"{day}day" for day in ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun")
}  # a habit's day: "on Thursdays"
_WORD = re.compile(r"\d+(?::\d+)*(?:-\d+)*(?!\w)|\w+")


def words(text: str) -> list[str]:
    """The text as comparable words and numbers."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    text = _APOSTROPHES.sub("", text)
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = _INSIDE.sub(":", text)
    text = _DASH.sub("-", text)
    # A dash beside a clock time or a price is a range: its ends are numbers of their own.
    text = re.sub(r"[\d:]+(?:-[\d:]+)+", lambda m: m[0].replace("-", " - ") if ":" in m[0] else m[0], text)
    text = _HALF_OF_DAY.sub(r"\1 \2m ", text)
    return [_WEEKDAYS.get(word, word) for word in _WORD.findall(text)]


def stands_in(answer: str, text: str) -> bool:
    """Whether the answer's words stand in the text, one after another. An answer without words never does."""
    wanted, found = words(answer), words(text)
    if not wanted:
        return False
    return any(found[start : start + len(wanted)] == wanted for start in range(len(found) - len(wanted) + 1))


def right(answers: Sequence[str], text: str) -> bool:
    """Whether any accepted answer stands in the text."""
    return any(stands_in(answer, text) for answer in answers)
