"""What a question wants and what a text offers, as far as words show it: topics, and kinds of answer.

A topic is a word that says something, or a concept of english.toml that several words share. A kind of
answer is a shape in the text: a time, a weekday, a sum of money, a year.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Iterable
from importlib import resources

from townsquare.serve.words import CALENDAR, Word, sentences, words

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER = f"(?:{'|'.join(_NUMBERS)})"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?:{'|'.join(_MONTHS)})[a-z]*\.?"
_KINDS = {
    "time": (
        r"\b\d{1,2}[:.h]\d{2}\b(?!\s?[€$£]|\s?euro)(?:\s?[ap]\.?m)?|\b\d{1,2}\s?[ap]\.?m\b|"
        rf"\b(?:\d{{1,2}}|{_NUMBER}) ?o'?clock\b|\b(?:half|quarter)[ -](?:past|to) (?:\d{{1,2}}|{_NUMBER})\b|"
        r"\bnoon\b|\bmidday\b|\bmidnight\b|"
        rf"\b(?:at|until|till|from|by|around) (?:\d{{1,2}}|{_NUMBER})\b(?![.:/-]?\d|\s?[€$£]|\s(?:euro|pound|dollar))"
    ),
    "weekday": r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\bweekends?\b|\bevery day\b|\bdaily\b",
    "date": (
        rf"\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}\b|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b|"
        r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b"
    ),
    "year": r"\b1\d{3}\b|\b20\d{2}\b",
    "money": (
        r"[$£€]\s?\d+(?:[.,]\d+)?|\b\d+(?:[.,]\d+)?\s?(?:[$£€]|(?:euros?|pounds?|dollars?|quid|bucks|cents?|pence)\b)"
        r"(?: \d{1,2}\b)?|\bfor free\b|\bfree of charge\b|\bfree (?:entry|admission)\b|"
        r"\b(?:entry|admission|tickets?) (?:is|are) free\b"
    ),
    "duration": rf"\b(?:\d+|{_NUMBER})[ -]?(?:min(?:ute)?s?|h(?:ou)?rs?|days?|weeks?)\b|\bhourly\b|\bhalf an hour\b",
    "score": (
        r"\b\d{1,3}\s?[-–:]\s?\d{1,3}\b|\bdraw\b|"
        rf"\b(?:\d{{1,3}}|{_NUMBER})[ -](?:to|all|nil)\b(?:[ -](?:\d{{1,3}}|{_NUMBER})\b)?"
    ),
    "street": r"\b\w+ (?:street|road|lane|row|hill|alley|crescent|walk|avenue|square|terrace|st|rd|ave)\b",
    "figure": rf"\d+|\b{_NUMBER}\b|\b(?:dozen|hundred|thousand|hourly|daily|weekly)\b",
}
_WANTED = (
    (r"\bwhat time\b|\bhours?\b|\bclosing time\b|\bopening time\b", ("time",)),
    (r"\b(?:what|which) (?:day of the week|weekday)\b|\bweekday\b", ("weekday",)),
    (r"\b(?:what|which|the) (?:\w+ )?day\b", ("weekday", "date")),
    (r"\b(?:what|which) year\b", ("year",)),
    (r"\bdate\b", ("date",)),
    (r"\b(?:street|road|address)\b", ("street",)),
    (
        r"\bhow much\b.*\b(?:is|are|was|cost|pay|for|at|charge)|\b(?:does|do|did|would) .*\bcosts?\b|"
        r"\bwhat(?: is| are| was|'s|’s)\b.*\b(?:price|fee|fare|cost|admission)\b",
        ("money",),
    ),
    (r"\bhow often\b|\bhow (?:many|long)\b.*\b(?:minutes?|hours?|days?)\b", ("duration",)),
    (r"\bhow (?:many|often|long|far|old|big|tall)\b", ("figure",)),
    (r"\bscore\b", ("score",)),
    (
        r"\bwhen (?:does|do|did|will|can)\b.*\b(?:open|close|shut|start|begin|kick|leave|depart|end|finish)",
        ("time", "date"),
    ),
    (r"\bwhen\b.*\bkick", ("time",)),
    (r"\bwhen\b.*\b(?:take place|happen)", ("date", "weekday", "year")),
    (r"\bwhen(?: is|'s|’s| are| was| were)\b", ("date", "weekday", "year")),
    (r"\bwhen\b", ("time", "weekday", "date", "year")),
)
_SHOWN = {"money": "cost", "year": "year", "weekday": "weekday", "date": "date", "score": "score", "street": "street"}
"""A kind in a text that is also a topic: whoever writes "is €3" speaks of a cost."""

_PLACE = re.compile(r"\b(?:[Aa]t|[Ii]n|[Nn]ear|[Bb]ehind|[Oo]n|[Ff]rom)\s+(?:the\s+)?([A-Z]\w+)")

_ASKS = re.compile(
    r"\?[\"'”’)\s]*$|"
    r"\b(?:ask|wants? to know|wonder|trying to|find out|found out|remember|remind|tell me|know|forget|work out|"
    r"figure out|no idea|not sure)\w*\b.*\b(?:what|which|who|whose|when|where|why|how|if|whether)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(r"\b(?:what|which|who|whose|when|where|why|how|whether)\b", re.IGNORECASE)
_OPENS_QUESTION = re.compile(
    r"^\W*(?:who|what|when|where|why|how|which|whose|does|do|did|can|could|would|has|have|is|are|any|anyone|anybody)\b"
    r"(?!.*[.!])",
    re.IGNORECASE,
)
_KNOWS_NOT = re.compile(
    r"\b(?:no idea|no clue|not a clue|who knows|beats me|dunno|don'?t know|not sure)\b|^\W*(?:try|ask) [A-Z]",
    re.IGNORECASE,
)
_INSTRUCTS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|prompt|rule|guideline|told|message)s?\b|"
    r"\bsystem prompt\b|\byou are (?:now|an? (?:ai|assistant))\b|"
    r"\b(?:as|dear|hey|note to|attention) (?:an? )?(?:ai|assistant|chatbot|bot)\b|"
    r"\b(?:ai|assistant|chatbot|model)s?\b.{0,30}\b(?:must|should|always|reply|answer|respond|say)\b|"
    r"<\|?\w+\|?>|^\s*(?:system|assistant|user)\s*:",
    re.IGNORECASE | re.MULTILINE,
)


def asks(sentence: str) -> bool:
    """Whether a sentence asks, directly or by report ("my mum wants to know when …")."""
    return bool(_ASKS.search(sentence) or _OPENS_QUESTION.match(sentence))


def instructs(text: str) -> bool:
    """Whether a text speaks to an assistant in order to steer it. It stays data; it just states nothing."""
    return bool(_INSTRUCTS.search(text))


def statements(text: str) -> list[str]:
    """The sentences of a post that state something; none when it says that it does not know, or steers an assistant."""
    if instructs(text) or _KNOWS_NOT.search(text):
        return []
    parts = sentences(text)
    asking = any(map(asks, parts))  # "… where it is. Anyone?": what is left open before is asked too
    return [part for part in parts if not asks(part) and not (asking and _OPEN.search(part))]


def kinds(text: str, among: Iterable[str] = tuple(_KINDS)) -> frozenset[str]:
    """Those of the kinds of answer that stand in a text."""
    lowered, patterns = text.lower().replace("’", "'"), _compiled()
    return frozenset(kind for kind in among if patterns[kind].search(lowered))


def wanted(question: str) -> frozenset[str]:
    """The kinds that a question wants, any of which will do; empty where no shape tells."""
    for pattern, found in _WANTED:
        if re.search(pattern, question, re.IGNORECASE):
            return frozenset(found)
    return frozenset()


@functools.cache
def _compiled() -> dict[str, re.Pattern[str]]:
    return {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}


@functools.cache
def _english() -> dict[str, dict[str, str]]:
    text = resources.files("townsquare.serve").joinpath("english.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@functools.cache
def _phrases() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """First word's key -> (phrase as keys, concept) of the phrases that begin with it."""
    whole: dict[tuple[str, ...], str] = {}
    for concept, listed in _english()["concepts"].items():
        for phrase in listed.split(","):
            whole.setdefault(tuple(word.key for word in words(phrase.strip())), f"#{concept}")
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for keys, concept in whole.items():
        found.setdefault(keys[0], []).append((keys, concept))
    return found


def concepts(keys: list[str]) -> list[tuple[str, int, int]]:
    """(concept, first word, number of words) of each phrase of english.toml, longest first, none overlapping."""
    known = _phrases()
    standing = [
        (-len(phrase), start, concept)
        for start, key in enumerate(keys)
        for phrase, concept in known.get(key, ())
        if len(phrase) == 1 or tuple(keys[start : start + len(phrase)]) == phrase
    ]
    found: list[tuple[str, int, int]] = []
    taken: set[int] = set()
    for negative, start, concept in sorted(standing):
        places = range(start, start - negative)
        if taken.isdisjoint(places):
            taken.update(places)
            found.append((concept, start, -negative))
    return found


def narrowed(found: set[str]) -> set[str]:
    """Concepts of a question without those that say nothing or that a narrower one makes mere wording."""
    wider = {"#nothing"} | {f"#{wide}" for narrow, wide in _english()["narrows"].items() if f"#{narrow}" in found}
    return found - wider


@dataclasses.dataclass(frozen=True)
class Reading:
    """A text as it was understood, whatever is asked of it."""

    text: str
    words: list[Word]
    keys: frozenset[str]
    implied: frozenset[str]
    """The concepts among its words, and those that its kinds of answer imply."""
    places: frozenset[str]
    """Keys of what stands after "at", "in" and the like."""

    @classmethod
    def of(cls, text: str) -> Reading:
        said = words(text)
        keys = [word.key for word in said]
        implied = {concept for concept, _, _ in concepts(keys)} | {f"#{_SHOWN[kind]}" for kind in kinds(text, _SHOWN)}
        places = {word.key for match in _PLACE.finditer(text) for word in words(match[1])}
        return cls(text, said, frozenset(keys), frozenset(implied), frozenset(places - CALENDAR))

    @classmethod
    def of_statements(cls, text: str) -> Reading:
        """Of what a post states alone."""
        return cls.of(" \n".join(statements(text)))

    def topics(self, about: frozenset[str] = frozenset()) -> frozenset[str]:
        """All that the text touches: the keys of its words, and concepts.

        `about` are the keys of the names in question: "at NAME" says where only if NAME is another.
        """
        return self.keys | self.implied | ({"#where"} if self.places - about else set())


def topics(text: str) -> frozenset[str]:
    """All that a text touches."""
    return Reading.of(text).topics()


def values(text: str, wanted_kinds: frozenset[str]) -> frozenset[str]:
    """What a text gives of the kinds wanted, each in one spelling: 17:15, 5.15 pm and quarter past five are one."""
    lowered = text.lower().replace("’", "'")
    return frozenset(
        f"{kind} {_plain_value(kind, match[0])}"
        for kind in sorted(wanted_kinds)
        for match in _compiled()[kind].finditer(lowered)
    )


def _plain_value(kind: str, shown: str) -> str:
    figures = [int(figure) for figure in re.findall(r"\d+", shown)]
    spelt = [_NUMBERS.index(word) + 1 for word in re.findall(_NUMBER, shown)]
    if kind == "time":
        hour, minute = ([*figures, *spelt, 12])[0], (figures[1] if len(figures) > 1 else 0)
        if "half" in shown or "quarter" in shown:
            minute = 30 if "half" in shown else 15
            hour, minute = (hour - 1, 60 - minute) if " to " in shown.replace("-", " ") else (hour, minute)
        return str((hour * 60 + minute) % 720)
    if kind == "date":
        month = re.search("|".join(_MONTHS), shown)
        return f"{month[0] if month else ''} {figures[0]}"
    if kind == "money":
        return ".".join(f"{figure:02d}" if place else str(figure) for place, figure in enumerate(figures)).removesuffix(
            ".00"
        )
    return " ".join(map(str, figures or spelt)) or shown.rstrip("s")
