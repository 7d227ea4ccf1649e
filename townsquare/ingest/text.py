"""Text and times as networks write them, made uniform."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

SNOWFLAKE_EPOCH_MS = 1288834974657
FIRST_SNOWFLAKE = 29700859247
LONG_TEXT = 240  # characters; X cuts no shorter text to a link, and a shorter post has no note
_NEVER_KEPT = re.compile("[\x00\x80-\x84\x86-\x9f]")  # NUL and C1, but for the next-line sign
_SURROGATE = re.compile("[\ud800-\udfff]")
_X_ESCAPES = re.compile("&(amp|lt|gt);")
_X_CHARACTERS = {"amp": "&", "lt": "<", "gt": ">"}
_CUT_LINK = re.compile(r"https?://t\.co/[A-Za-z0-9]*…")
_SHORT_LINK = re.compile(r"https?://t\.co/[A-Za-z0-9]+")
_SHORT_LINKS = re.compile(r"(https?://t\.co/[A-Za-z0-9]+)(?![A-Za-z0-9…])")
_CUT_END = re.compile(r"…\s*https?://t\.co/[A-Za-z0-9]+$")
_X_ID = re.compile(r"[0-9]{1,20}")
_MONTHS = dict(
    zip(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), range(1, 13), strict=True)
)
_CTIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) ([+-]\d{4}) (\d{4})")
_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})(?: (\d{1,2}):(\d{2})(?::(\d{2}))?)?")

Time = tuple[dt.datetime | None, str]
"""A moment in UTC and its precision: us, ms, s, day or unknown."""


def sound(text: str) -> str:
    """Text as received, but storable: no NUL or C1 controls, lone surrogates replaced. Newlines and tabs stay."""
    if text.isascii():  # most posts; nothing else to look for
        return text.replace("\0", "")
    return _SURROGATE.sub("�", _NEVER_KEPT.sub("", text))


def clean(text: str) -> str:
    """The normal form of a post's text: sound, and composed (NFC)."""
    text = sound(text)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def unescape_x(text: str) -> str:
    """Undo X's escaping of &, < and >, once: a person may have typed "&amp;lt;"."""
    return _X_ESCAPES.sub(lambda match: _X_CHARACTERS[match[1]], text)


def x_text(raw: str, links: Sequence[dict[str, Any]], drop: Sequence[str] = ()) -> str:
    """X's text with links expanded by replacing their t.co tokens, links of media and quotes dropped.

    Tokens are replaced where they stand, in one pass: X's indices count code points in some sources and
    UTF-16 units in others, and what a link expands to is neither unescaped nor searched for more tokens.
    """
    put = {link["short"]: link["expanded"] for link in links if link["short"] and link["expanded"]}
    put.update(dict.fromkeys(drop, ""))
    if not put:
        return clean(unescape_x(_CUT_LINK.sub("", raw))).strip()
    usual = all(_SHORT_LINK.fullmatch(short) for short in put)
    pieces = (_SHORT_LINKS if usual else _tokens(put)).split(raw)
    for i, piece in enumerate(pieces):
        known = put.get(piece) if i % 2 else None
        pieces[i] = unescape_x(_CUT_LINK.sub("", piece)) if known is None else known
    return clean("".join(pieces)).strip()


def _tokens(shorts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(shorts, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + r")(?![A-Za-z0-9…])")


def is_cut(raw: str) -> bool:
    """Whether an X text ends where X cut it: with an ellipsis, or with one and a link to the whole post."""
    ends = raw.rstrip()
    return (len(ends) > 100 and ends.endswith("…")) or (len(ends) >= LONG_TEXT and bool(_CUT_END.search(ends)))


def without_mentions(text: str, names: set[str]) -> str:
    """A reply's text without the @names that X puts in front of it; only those that the post mentions."""
    known = {name.lower() for name in names}
    words = text.split(" ")
    while len(words) > 1 and words[0].startswith("@") and words[0][1:].lower() in known:
        words.pop(0)
    return " ".join(words)


def x_id(value: Any) -> str | None:
    """An X id as digits; ids of -1 or of another shape are none. Never goes through a float."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < 10**20 else None
    return value if isinstance(value, str) and _X_ID.fullmatch(value) else None


def x_uid(value: Any) -> str | None:
    """An X id as a uid."""
    found = x_id(value)
    return f"x:{found}" if found else None


def x_created(value: Any, number: str) -> Time:
    """When an X post was made: as its source says, or as its id tells."""
    said = parse_time(value)
    if said[0] is None and (told := snowflake_time(int(number))) is not None:
        return told, "ms"
    return said


def whole_number(value: Any) -> int | None:
    """A count, from a number or digits in text; anything else is unknown."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):  # tables hold counts as floats where some are unknown; ids never pass here
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else None
    text = str(value).strip().replace(",", "")
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def snowflake_time(number: int) -> dt.datetime | None:
    """When an X id was made, to the millisecond; ids before November 2010 do not tell."""
    if number < FIRST_SNOWFLAKE:
        return None
    milliseconds = (number >> 22) + SNOWFLAKE_EPOCH_MS
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=milliseconds)


def parse_time(value: Any) -> Time:
    """A time in any form that sources use; (None, "unknown") for what is none.

    ISO 8601, X's "Sat Dec 01 02:52:47 +0000 2007", "10/16/17 22:59", and seconds, milliseconds or
    microseconds since 1970. A time without a zone is taken as UTC.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float, dt.date)):
        return None, "unknown"
    try:
        if isinstance(value, dt.datetime):
            return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).astimezone(dt.UTC), "us"
        text = str(value).strip()
        if re.fullmatch(r"-?[0-9]{1,17}(\.[0-9]+)?", text):
            return _epoch(text)
        return _ctime(text) or _us_date(text) or _iso(text)
    except (ValueError, OverflowError):
        return None, "unknown"


def _epoch(text: str) -> Time:
    whole = int(text.split(".", maxsplit=1)[0])
    scale, precision = next(
        (s, p) for limit, s, p in ((10**11, 1, "s"), (10**14, 10**3, "ms"), (10**20, 10**6, "us")) if abs(whole) < limit
    )
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=whole * (10**6 // scale))
    return moment, precision


def _ctime(text: str) -> Time | None:
    match = _CTIME.fullmatch(text)
    if match is None or match[1] not in _MONTHS:
        return None
    offset = dt.timedelta(hours=int(match[6][:3]), minutes=int(match[6][0] + match[6][3:]))
    zone = dt.timezone(offset)
    hour, minute, second = int(match[3]), int(match[4]), int(match[5])
    moment = dt.datetime(int(match[7]), _MONTHS[match[1]], int(match[2]), hour, minute, second, tzinfo=zone)
    return moment.astimezone(dt.UTC), "s"


def _us_date(text: str) -> Time | None:
    match = _US_DATE.fullmatch(text)
    if match is None:
        return None
    year = int(match[3]) + (2000 if len(match[3]) == 2 else 0)
    hour, minute, second = (int(part or 0) for part in match.groups()[3:])
    moment = dt.datetime(year, int(match[1]), int(match[2]), hour, minute, second, tzinfo=dt.UTC)
    return moment, "s" if match[4] else "day"


def _iso(text: str) -> Time:
    moment = dt.datetime.fromisoformat(text)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    if len(text) <= 10:
        return moment, "day"
    fraction = re.search(r"\.(\d+)", text)
    return moment, "s" if fraction is None else "ms" if len(fraction[1]) <= 3 else "us"
