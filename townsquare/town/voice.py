"""How a person writes: case, endings, slang, slips of the pen, emoji, hashtags."""

from __future__ import annotations

import re
from collections.abc import Callable

from townsquare.town.world import Person

EMOJI = {
    "good": ("😊", "😄", "🎉", "😋", "👍", "❤️", "🌞", "🙌", "🥳", "✨", "😁", "💪"),
    "bad": ("😩", "🙈", "😅", "😭", "🤦", "😤", "☔", "😬", "💔", "🥴"),
    "plain": ("🙂", "👀", "🤔", "👇", "😉", "📌", "☕", "🤷", "🙏", "📣"),
    "laugh": ("😂", "🤣", "😆", "😜", "😹", "🙃"),
}
SLANG = (
    (" because ", " cos "), (" you ", " u "), (" going to ", " gonna "), (" really ", " rly "), (" are ", " r "),
    (" tomorrow", " tmrw"), (" and ", " n "), (" to be honest", " tbh"), (" please", " pls"), (" thanks", " thx"),
    (" something ", " smth "), (" want to ", " wanna "), (" people", " ppl"), (" with ", " w/ "), (" I ", " i "),
)  # fmt: skip
MEANT = frozenset(
    ("euros", "half", "past", "quarter", "seven", "eight", "nine", "eleven", "twelve", "three", "four", "five")
)
"""Words that carry a fact: no slip of the pen touches them, nor any word with a capital."""
_AN = re.compile(r"\b([Aa]) (?=[aeio])")
_WORD = re.compile(r"(?<![\w@#/.'-])[a-z]{4,}(?![\w/.'-])")


def write(person: Person, text: str, mood: str, tag: str, random: Callable[[], float]) -> str:
    """The text as this person would put it; `tag` is a hashtag's word."""
    text = _AN.sub(r"\1n ", text[:1].upper() + text[1:])
    if person.slang and random() < 0.8:
        text = _slang(text, random)
    if random() < person.typos:
        text = _slip(text, random)
    if text[-1:] not in ".!?…":
        text += person.end
    if person.lower:
        text = text.lower()
    if random() < person.emoji:
        faces = EMOJI[mood]
        face = faces[int(random() * len(faces))]
        text += f" {face}" * (1 + (random() < 0.2))
    if tag and random() < person.tags:
        text += f" #{tag}"
    return text


def _slang(text: str, random: Callable[[], float]) -> str:
    for plain, short in SLANG:
        if plain in text and random() < 0.6:
            text = text.replace(plain, short, 1)
    return text


def _slip(text: str, random: Callable[[], float]) -> str:
    """One word with two letters swapped, one lost or one doubled."""
    words = [match for match in _WORD.finditer(text) if match[0] not in MEANT]
    if not words:
        return text
    match = words[int(random() * len(words))]
    at = match.start() + 1 + int(random() * (len(match[0]) - 2))
    how = random()
    if how < 0.4:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if how < 0.75 else text[:at] + text[at] + text[at:]
