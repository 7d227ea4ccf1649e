"""Personal data in texts, masked by type and never a reason to leave a post out.

E-mail addresses, phone numbers, IBANs (checked, ISO 13616), payment cards (checked, Luhn) and IP addresses become
[email], [phone], [iban], [card], [ip]. Known errors: phone numbers without a leading + or 0 in forms other than North
America's are left, since scores and ids look alike, and some national ids are masked as phones; names and postal
addresses are not masked.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

import polars as pl

NAME = "personal_data"

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?![\w@])", re.I)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", re.I)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4})(?![\w:]|\.\d)", re.I)
_PHONE = re.compile(
    r"(?<![\w.:/#$£€+-])(?<!\d,)(?!\d\d[ .-]\d\d[ .-]\d{4}\b)(?:"  # and no date, day first
    r"\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,11}"  # +44 20 7946 0958
    r"|00\d{1,3}[ .-]?\d(?:[ .-]?\d){6,11}"  # 0044 20 7946 0958
    r"|(?:1[ .-])?\(\d{2,5}\) ?\d{3,4}[ .-]?\d{3,4}"  # (202) 555-0143
    r"|(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}"  # 202-555-0143
    r"|0\d{1,4}[ -]\d{2,4}[ -]?\d{2,5}(?:[ -]?\d{2})?"  # 020 7946 0958, 089 72 63 41
    r"|0\d{9,10}"  # 02079460958
    r"|\d{3}-\d{4}(?= |$|[,.!?])"  # 555-0143
    r")(?: ?(?:x|ext\.?) ?\d{1,6})?(?!\w|[-.]\d)"
)
_CANDIDATE = r"[@]\S+\.|\d[\d ().:/-]{5,}\d|(?i)[a-z]{2}\d{2} ?[a-z0-9]{4}|[0-9a-f]{0,4}:[0-9a-f]{0,4}:[0-9a-f]"


def luhn(number: str) -> bool:
    """Whether the digits end in the right check digit (ISO/IEC 7812)."""
    digits = [int(digit) for digit in reversed(number)]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total % 10 == 0


def iban_holds(text: str) -> bool:
    """Whether letters and digits are an IBAN with right check digits (ISO 13616: remainder 1 by 97)."""
    if not 15 <= len(text) <= 34:
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _is_iban(match: re.Match[str]) -> bool:
    return iban_holds(match[0].replace(" ", "").upper())


def _is_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and luhn(digits)


def _is_ip(match: re.Match[str]) -> bool:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return False
    return True


def _always(match: re.Match[str]) -> bool:
    return True


KINDS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
    ("email", _EMAIL, _always),
    ("iban", _IBAN, _is_iban),
    ("card", _CARD, _is_card),
    ("ip", _IP, _is_ip),
    ("phone", _PHONE, _always),
)
"""What is masked, in this order: a phone number may stand within a card's or an IBAN's digits."""


def mask_one(text: str, counts: Counter[str]) -> str:
    """The text with personal data masked; `counts` grows by what was found."""
    for kind, pattern, holds in KINDS:

        def put(match: re.Match[str], kind: str = kind, holds: Callable[[re.Match[str]], bool] = holds) -> str:
            if not holds(match):
                return match[0]
            counts[kind] += 1
            return f"[{kind}]"

        text = pattern.sub(put, text)
    return text


def mask(texts: pl.Series) -> tuple[pl.Series, dict[str, int]]:
    """All texts masked, and how many of each type were found. Only texts with a likely sign are looked at closely."""
    counts: Counter[str] = Counter()
    likely = texts.str.contains(_CANDIDATE).fill_null(False)
    rows = likely.arg_true()
    masked = [mask_one(text, counts) for text in texts.gather(rows).to_list()]
    found = pl.Series(masked, dtype=pl.String)
    return texts.scatter(rows, found), {kind: counts[kind] for kind, _, _ in KINDS}
