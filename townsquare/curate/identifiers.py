"""Numbers by which a person can be told: what they look like, and whether their check digits hold.

Check digits and number plans are python-stdnum's and phonenumbers' to know. What looks like many other things (eight
digits, say) counts only beside a word that says what it is.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from functools import cache
from typing import Any

CALLED = (
    r"call(?:ed|ing)?|phone|telephone|tel|text|ring|rang|mobile|cell|fax|whatsapp|telegram|signal|sms|dial|reach(?:ed)?|"
    r"hotline|landline|office|answering|telefon|handy|mobil|anrufen|appelez|téléphone|portable|llam[ae](?:me)?|teléfono|"
    r"móvil|telefono|cellulare|chiama(?:mi)?|telefone|celular|telemóvel|ligue|bel|bellen|telefoon|mobiel"
)
"""Words beside which digits in groups are a phone number, in the languages that the town speaks."""

_GROUPED = re.compile(
    r"(?<![\w.:/#$£€+,-])\(?\d{2,4}\)?(?:[ .-]?\d{2,4}){1,4}(?: ?(?:x|ext\.?) ?\d{1,6})?(?!\w|[-.:,/]\d|[ ]?[%€$£])",
    re.I,
)
_BEFORE = re.compile(rf"\b(?:{CALLED})\b(?![^\W\d]*://)\D{{0,24}}(?:[-+\d ().x]{{6,24}}\D{{1,5}})?$", re.I)
_AFTER = re.compile(rf"^[ -]{{0,3}}\(?(?:{CALLED}|home|work)\b", re.I)
_YEAR = re.compile(r"(?:1[89]|20)\d\d(?:[ .-]+(?:1[89]|20)?\d\d)?|\d\d?[ .-]\d\d?[ .-](?:1[89]|20)\d\d")


def is_iban(text: str) -> bool:
    """Country, length and check digits (ISO 13616)."""
    return bool(_module("iban").is_valid(text, check_country=False))


def is_card(text: str) -> bool:
    """13 to 19 digits, of a range that payment cards have, that pass Luhn's check (ISO/IEC 7812)."""
    digits = re.sub(r"\D", "", text)
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and bool(_module("luhn").is_valid(digits))


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_international(text: str) -> bool:
    """A number with its country's code whose length the country's plan has."""
    import phonenumbers

    digits = re.split(r"(?i)x|ext", text)[0]
    try:
        number = phonenumbers.parse("+" + digits[2:] if digits.startswith("00") else digits)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_possible_number(number))


def local_phones(text: str) -> list[tuple[int, int]]:
    """Where groups of 6 to 11 digits stand beside a word of calling, or alone on a line."""
    found = []
    for match in _GROUPED.finditer(text):
        start, end = match.span()
        digits = len(re.sub(r"\D", "", re.split(r"(?i)x|ext", match[0])[0]))
        if not 6 <= digits <= 11 or _YEAR.fullmatch(match[0]):
            continue
        line = (
            text[text.rfind("\n", 0, start) + 1 : start] + text[end : (text.find("\n", end) + 1 or len(text) + 1) - 1]
        )
        alone = not line.strip(" .,;:\\") and (digits >= 7 or " " in match[0] or "-" in match[0])
        if alone or _BEFORE.search(text[max(0, start - 60) : start]) or _AFTER.search(text[end : end + 16]):
            found.append((start, end))
    return found


IDS = (  # those of a form that little else has; the module of python-stdnum that knows the check
    (r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    (r"\d{8}-?[A-Z]", "es.dni"),
    (r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    (r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    (r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", "fr.nir"),
    (r"(?:\d\d)?\d{6}[-+]\d{4}", "se.personnummer"),
    (r"\d{6}[-+A]\d{3}[\dA-Y]", "fi.hetu"),
    (r"\d{1,2}\.\d{3}\.\d{3}-[\dK]", "cl.rut"),
    (r"[2-9]\d{3} \d{4} \d{4}", "in_.aadhaar"),
)
NINO = r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"
"""Britain's National Insurance number has no check digit: HMRC's manual NIM39110 gives its letters."""
NAMED = (
    r"(?:ssn|social security(?: number| no\.?| #)?|bsn|pesel|dni|nie|nif|cpf|aadhaar|steuer-?id(?:nr)?|personnummer|"
    r"national (?:id|insurance)(?: number| no\.?)?|passport(?: number| no\.?| #)?|"
    r"driv(?:er|ing)(?:['’]?s)? licen[cs]e(?: number| no\.?| #)?|id card(?: number| no\.?)?)"
)
_IDS = tuple((re.compile(rf"(?<![\w.-]){pattern}(?![\w-])", re.I), module) for pattern, module in IDS)
_NINO = re.compile(rf"\b{NINO}\b")
_NAMED = re.compile(
    rf"\b{NAMED}(?: is| was|:| =)? ?[:#]? ?((?=[\w .-]*\d[\w .-]*\d)[A-Z]{{0,3}}\d(?:[ .-]?[A-Z0-9]){{5,16}})(?!\w)",
    re.I,
)


def national_ids(text: str) -> list[tuple[int, int]]:
    """Where national ids, passports and driving licences stand: by their check, or by the word before them."""
    found = [match.span() for pattern, module in _IDS for match in pattern.finditer(text) if _holds(module, match[0])]
    found += [match.span() for match in _NINO.finditer(text)]
    return found + [match.span(1) for match in _NAMED.finditer(text)]


def _holds(module: str, text: str) -> bool:
    return bool(_module(module).is_valid(text))


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"stdnum.{name}")
