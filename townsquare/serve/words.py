"""Words as retrieval and the check of citations compare them: names, numbers, negations, plain and empty words.

English only where it must know a language (empty words, endings); everything else holds for any script.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Literal, NamedTuple

Kind = Literal["number", "name", "negation", "plain", "empty"]

_EMPTY = """
a about after again all also am an and any anybody anyone are as at be because been before being but by can
could did do does doing done for from get gets getting go goes going got had has have having he her here hers
him his how i if in into is it its itself just let like ll m me mine more most much my of off on once one only
or other our ours out over own please re s said same say says she should so some somebody someone something such
t tell than that the their theirs them then there these they thing things this those through to too up us ve
very was we were what when where which who whom whose why will with would you your yours d know knows there's
that's it's i'm think thinks thought feel
"""
EMPTY = frozenset(_EMPTY.split())
_NEGATIONS = """
no not never none nobody nothing neither nor without cannot n't isn't
"""
NEGATIONS = frozenset(_NEGATIONS.split())
_NUMBER_WORDS = """
two three four five six seven eight nine ten eleven twelve noon midnight half quarter dozen hundred thousand
"""
NUMBER_WORDS = frozenset(_NUMBER_WORDS.split())
_CALENDAR = """
monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri sat sun january
february march april may june july august september october november december jan feb mar apr jun jul aug sep
sept oct nov dec today tomorrow yesterday tonight weekend weekday weekends weekdays
"""
CALENDAR = frozenset(_CALENDAR.split())

# A number keeps its currency, separators and unit: 18:30, 3-1, £4.50, 6pm, 20%.
_TOKEN = re.compile(
    r"(?P<number>[$£€]?\d+(?:[.,:/\-–]\d+)*(?:\s?(?:am|pm|a\.m\.|p\.m\.)\b|%|[a-z]{1,3}\b)?)|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)",
    re.IGNORECASE,
)
_NOT_SAID = re.compile(r"https?://\S+|(?<!\w)@\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|No|vs|approx|e\.g|i\.e|etc|a\.m|p\.m)\.|\b[A-Z]\.)$", re.IGNORECASE
)


class Word(NamedTuple):
    """One word of a text: `raw` as folded, `key` is what is compared, `start` its offset in the text."""

    raw: str
    key: str
    kind: Kind
    start: int


def words(text: str) -> list[Word]:
    """The words of a text in order; links and @mentions are not among them."""
    found: list[Word] = []
    bare = _NOT_SAID.sub(lambda match: " " * len(match[0]), text) if "@" in text or "://" in text else text
    for match in _TOKEN.finditer(bare):
        raw, start = match[0], match.start()
        if match["number"]:
            found.append(Word(raw.lower(), _number_key(raw), "number", start))
            continue
        folded, key, kind = _known(raw)
        if kind == "name" and _starts_sentence(bare, start):
            kind = "plain"
        found.append(Word(folded, key, kind, start))
    return found


@functools.lru_cache(maxsize=1 << 16)
def _known(raw: str) -> tuple[str, str, Kind]:
    """A word as written -> folded, key, kind within a sentence. Language repeats its words: nearly all are found."""
    folded = fold(raw)
    return folded, _key(folded), _kind(raw, folded)


def _kind(raw: str, folded: str) -> Kind:
    """What a word is within a sentence; at its beginning a capital makes no name."""
    if folded in NEGATIONS or folded.endswith("n't"):
        return "negation"
    if folded in NUMBER_WORDS:
        return "number"
    if folded in EMPTY or folded.removesuffix("'s") in EMPTY:
        return "empty"
    if raw[0].isupper() and folded not in CALENDAR and len(folded) > 1:
        return "name"
    return "plain"


def _starts_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\"'“‘(*#_")
    return (
        not before
        or before[-1] in ".!?…:\n"
        or not before[-1].isprintable()
        or unicodedata.category(before[-1]) == "So"
    )


def fold(text: str) -> str:
    """Lower case without accents, apostrophes straight."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def _number_key(raw: str) -> str:
    return re.sub(r"\s|\.(?=m\b|$)", "", raw.lower()).replace("–", "-").replace(".m", "m").rstrip(".")


def _key(folded: str) -> str:
    """A word without its English endings: opens, opened, opening -> open."""
    word = folded.removesuffix("'s").replace("'", "")
    if word in CALENDAR or len(word) < 4:
        return word
    for ending, left in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ied", "y"), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            if ending == "s" and word.endswith(("ss", "us", "is")):
                break
            word = word[: -len(ending)] + left
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]  # planned -> plan
    return word.removesuffix("e") if len(word) > 3 else word


def sentences(text: str) -> list[str]:
    """A text cut after each sentence and line; abbreviations, times and decimals do not end one."""
    parts: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        piece = text[start : match.start()]
        if "\n" not in match[0] and abbreviated(piece):
            continue
        parts.append(text[start : match.end()].strip())
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def abbreviated(text: str) -> bool:
    """Whether a text ends in a full stop that belongs to an abbreviation."""
    return bool(_ABBREVIATION.search(text))


def fingerprint(text: str) -> str:
    """What near copies share: the words in order, without case, accents, punctuation, emoji, links, mentions."""
    return " ".join(match[0] for match in _TOKEN.finditer(fold(_NOT_SAID.sub(" ", text))))
