"""Personal data in texts, masked by type and never a reason to leave a post out.

E-mail addresses, IBANs and payment cards (checked), IP addresses, national ids, coordinates to within ten metres, keys
and passwords, and phone numbers become [email], [iban], [card], [ip], [national_id], [coordinates], [key], [phone].
Known errors: names and postal addresses are not masked; a phone number in groups that no word of calling goes with is
left, since scores and ids look alike; a national id without check digits is known by the word before it alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

import polars as pl

from townsquare.curate import identifiers, normal

NAME = "personal_data"

Spans = Iterable[tuple[int, int]]

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?![\w@])", re.I)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", re.I)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4})(?![\w:]|\.\d)", re.I)
_COORDINATES = re.compile(r"(?<![\w.])-?\d{1,2}\.\d{4,}°? ?[NS]?[,; ] ?-?\d{1,3}\.\d{4,}°?(?: ?[EW]\b)?(?![\w.]\d)")
_KEY = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{36,}|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|AIza[\w-]{35}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)\b|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
)
_SECRET = re.compile(
    r"\b(?:api[ _-]?key|access[ _-]?token|secret|passwords?|passwd|pwd|pin)(?: is)? ?[:=] ?(?=\S*\d)(\S{4,64})", re.I
)
_ABROAD = re.compile(
    r"(?<![\w.:/#$£€+-])(?:\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,11}"  # +44 20 7946 0958
    r"|00\d{1,3}[ .-]?\d(?:[ .-]?\d){6,11})(?: ?(?:x|ext\.?) ?\d{1,6})?(?!\w|[-.]\d)"  # 0044 20 7946 0958
)
_PHONE = re.compile(
    r"(?<![\w.:/#$£€+-])(?<!\d,)(?!\d\d[ .-]\d\d[ .-]\d{4}\b)(?:"  # and no date, day first
    r"(?:\+?1[ .-]?)?\(\d{2,5}\) ?\d{3,4}[ .-]?\d{3,4}"  # (202) 555-0143
    r"|(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}"  # 202-555-0143
    r"|0\d{1,4}[ -]\d{2,4}[ -]?\d{2,5}(?:[ -]?\d{2})?"  # 020 7946 0958, 089 72 63 41
    r"|0\d(?:[ .]\d\d){4}"  # 02.27.96.63.08
    r"|0\d{9,10}"  # 02079460958
    r"|\d{3}-\d{4}(?= |$|[,.!?])"  # 555-0143
    r")(?: ?(?:x|ext\.?) ?\d{1,6})?(?!\w|[-.]\d)"
)
_CANDIDATE = (
    r"[@]\S+\.|\d[\d ().:/-]{4,}\d|(?i)[a-z]{2}\d{2} ?(?:[a-z0-9]{4} ?){2}|[0-9a-f]{0,4}:[0-9a-f]{0,4}:[0-9a-f]"
    r"|[a-z0-9]\d{5}|"
    r"\b(?:key|token|secret|passwords?|passwd|pwd|pin)(?: is)? ?[:=]|PRIVATE KEY|\b(?:sk-|gh[pousr]_|xox|eyj|aiza|akia)"
)


def _matching(pattern: re.Pattern[str], holds: Callable[[str], bool] | None = None) -> Callable[[str], Spans]:
    return lambda text: [m.span() for m in pattern.finditer(text) if holds is None or holds(m[0])]


def _keys(text: str) -> Spans:
    return [m.span() for m in _KEY.finditer(text)] + [m.span(1) for m in _SECRET.finditer(text)]


def _phones(text: str) -> Spans:
    abroad = [m.span() for m in _ABROAD.finditer(text) if identifiers.is_international(m[0])]
    return [*abroad, *(m.span() for m in _PHONE.finditer(text)), *identifiers.local_phones(text)]


KINDS: dict[str, Callable[[str], Spans]] = {
    "email": _matching(_EMAIL),
    "iban": _matching(_IBAN, identifiers.is_iban),
    "card": _matching(_CARD, identifiers.is_card),
    "ip": _matching(_IP, identifiers.is_ip),
    "national_id": identifiers.national_ids,
    "coordinates": _matching(_COORDINATES),
    "key": _keys,
    "phone": _phones,
}
"""What is masked, in this order: a phone number may stand within a card's or an IBAN's digits."""


def spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of all personal data in the text, in order; none overlaps another."""
    found: list[tuple[int, int, str]] = []
    for kind, look in KINDS.items():
        for start, end in look(text):
            if all(end <= a or b <= start for a, b, _ in found):
                found.append((start, end, kind))
    return sorted(found)


def mask_one(text: str, counts: Counter[str]) -> str:
    """The text with personal data masked; `counts` grows by what was found."""
    parts, at = [], 0
    for start, end, kind in spans(text):
        counts[kind] += 1
        parts += [text[at:start], f"[{kind}]"]
        at = end
    return "".join([*parts, text[at:]])


def mask(texts: pl.Series) -> tuple[pl.Series, dict[str, int]]:
    """All texts masked, and how many of each type were found. Only texts with a likely sign are looked at closely."""
    counts: Counter[str] = Counter()
    likely = texts.to_frame("text").select(normal.says(pl.col("text"), _CANDIDATE).fill_null(False))["text"]
    rows = likely.arg_true()
    masked = [mask_one(text, counts) for text in texts.gather(rows).to_list()]
    found = pl.Series(masked, dtype=pl.String)
    return texts.clone().scatter(rows, found), {kind: counts[kind] for kind in KINDS}
