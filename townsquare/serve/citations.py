"""The check of citations, as code: what a model says counts only where a post that it was given says so.

What this check can see: that a sentence's names and numbers stand in the cited post, in the same order and
next to each other as they belong; that most of its other words do; that neither side negates what the
other does not; that a quotation is verbatim. What it cannot see: a wrong meaning made of a post's own words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from townsquare.serve import meaning
from townsquare.serve.answers import Sentence
from townsquare.serve.words import CALENDAR, Word, abbreviated, fold, sentences, words

COVERED = 0.8
"""The least share of a sentence's plain words that must stand in the cited post."""
QUOTE_CHARACTERS = 280
"""The longest quotation of a post: an answer points at posts and does not replace them."""

_MARK = re.compile(r"\s*\[([0-9]{1,3})\]")
_ENDED = re.compile(r"[.!?…]+[\"'”’)]*(?:\s*\[\d{1,3}\])*(?=\s+[^\s\[])|\n")
_ANY_MARK = re.compile(r"\s*[\[［【〔]\s*\d[^\]］】〕]*[\]］】〕]")
_QUOTATION = re.compile('["“«]([^"“”«»]{2,})["”»]')


@dataclasses.dataclass(frozen=True)
class Source:
    """A post as the check reads it: its own text, and the text of the question that it replies to, if any."""

    text: str
    context: str = ""


def whole_sentences(pieces: Iterator[str]) -> Iterator[str]:
    """A reply's sentences, each with its marks, as soon as the text after it shows that it has ended."""
    held = ""
    for piece in pieces:
        held += piece
        start = 0
        for match in _ENDED.finditer(held):
            if match[0] == "\n" or not abbreviated(held[start : match.end()]):
                yield held[start : match.end()]
                start = match.end()
        held = held[start:]
    yield held


def split_marks(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """A reply as (sentence without marks, the numbers it cites), in order. A mark after the full stop counts too."""
    moved = re.sub(r"([.!?…]+)((?:\s*\[\d{1,3}\])+)", r"\2\1", text)
    found = []
    for sentence in sentences(moved):
        numbers = tuple(dict.fromkeys(int(mark[1]) for mark in _MARK.finditer(sentence)))
        bare = " ".join(_ANY_MARK.sub("", sentence).split())
        if any(character.isalnum() for character in bare):
            found.append((bare, numbers))
    return found


def check(text: str, numbers: Sequence[int], sources: Sequence[Source]) -> Sentence:
    """One sentence of a model against the posts it cites; `sources[0]` is post [1]. Marks that fail are dropped."""
    held = tuple(n for n in numbers if 1 <= n <= len(sources) and says(sources[n - 1], text))
    quoted = bool(held) and any(_flat(text).strip(" .") in _flat(sources[n - 1].text) for n in held)
    return Sentence(text=text, citations=held, supported=bool(held), quoted=quoted)


def says(source: Source, sentence: str) -> bool:
    """Whether a post supports a sentence."""
    said, post = words(sentence), words(source.text)
    if not any(word.kind in ("number", "name", "plain") for word in said):
        return False
    if any(_flat(quote[1]) not in _flat(source.text) for quote in _QUOTATION.finditer(sentence)):
        return False
    known = {word.key for word in words(source.context)}
    return (
        _numbers_stand(said, post)
        and _names_stand(said, post, known)
        and _covered(said, post, known)
        and _belongs(said, post)
        and _negations_agree(said, source.text)
    )


def _flat(text: str) -> str:
    return " ".join(fold(text).split())


def _strict(word: Word) -> bool:
    return word.kind == "number" or word.key in CALENDAR


def _same_number(said: str, stands: str) -> bool:
    """Equal, or the sentence leaves out a currency or unit that the post has."""
    return said == stands or (said[-1:].isdigit() and said[:1].isdigit() and said == stands.strip("$£€%apmdhstrnk"))


def _numbers_stand(said: Sequence[Word], post: Sequence[Word]) -> bool:
    stands = [word.key for word in post if _strict(word)]
    return all(any(_same_number(word.key, key) for key in stands) for word in said if _strict(word))


def _names_stand(said: Sequence[Word], post: Sequence[Word], known: set[str]) -> bool:
    keys = {word.key for word in post} | known
    return all(word.key in keys for word in said if word.kind == "name")


def _covered(said: Sequence[Word], post: Sequence[Word], known: set[str]) -> bool:
    keys = {word.key for word in post} | known
    plain = [word.key for word in said if word.kind == "plain" and not _strict(word)]
    return not plain or sum(key in keys for key in plain) >= COVERED * len(plain)


def _negations_agree(said: Sequence[Word], text: str) -> bool:
    """Both deny or neither does, looking at the post's sentence that is nearest to what is said."""
    denies = any(word.kind == "negation" for word in said)
    keys = {word.key for word in said if word.kind != "empty"}
    nearest = max(map(words, sentences(text)), key=lambda part: len(keys & {word.key for word in part}))
    return denies == any(word.kind == "negation" for word in nearest)


def _belongs(said: Sequence[Word], post: Sequence[Word]) -> bool:
    """Whether names and numbers belong together in the post as they do in the sentence.

    Walking the sentence's names and numbers through the post in order: no name that the sentence leaves
    out may stand between two of them; nor a number, unless a word of the sentence follows it and leads on
    to the next ("opens 9:00, closes 18:30" says "closes 18:30" and does not say "opens 18:30").
    """
    anchors = [word for word in said if _strict(word) or word.kind == "name"]
    places = [[i for i, other in enumerate(post) if _matches(word, other)] for word in anchors]
    places = [found for found in places if found]
    keys = {word.key for word in said if word.kind != "empty"}
    return not places or any(_walk(start, places[1:], post, keys) for start in places[0])


def _walk(place: int, rest: Sequence[Sequence[int]], post: Sequence[Word], keys: set[str]) -> bool:
    if not rest:
        return True
    return any(
        following > place and _clear(post[place + 1 : following], keys) and _walk(following, rest[1:], post, keys)
        for following in rest[0]
    )


def _clear(between: Sequence[Word], keys: set[str]) -> bool:
    strangers = [i for i, word in enumerate(between) if (_strict(word) or word.kind == "name") and word.key not in keys]
    if any(between[i].kind == "name" for i in strangers):
        return False
    return not strangers or any(word.key in keys for word in between[strangers[-1] + 1 :])


def _matches(said: Word, stands: Word) -> bool:
    if _strict(said):
        return _strict(stands) and _same_number(said.key, stands.key)
    return said.key == stands.key


def quote(text: str, question: str) -> str:
    """The sentence of a post that bears most on a question, verbatim; cut with an ellipsis when long.

    Only what looks like a citation mark changes its brackets, so that a post cannot cite.
    """
    asked, kinds = meaning.topics(question), meaning.wanted(question)
    parts = meaning.statements(text) or sentences(text)

    def worth(part: str) -> tuple[float, int]:
        shape = 3.0 if kinds & meaning.kinds(part) else 0.0
        return (shape + len(asked & meaning.topics(part)), -parts.index(part))

    best = plain_brackets(max(parts, key=worth))
    if len(best) <= QUOTE_CHARACTERS:
        return best
    return best[:QUOTE_CHARACTERS].rsplit(" ", 1)[0] + "…"


def plain_brackets(text: str) -> str:
    """A person's text with "[3]" made "(3)": only the assistant numbers posts."""
    return _ANY_MARK.sub(lambda mark: re.sub(r"[\[［【〔]", "(", mark[0])[:-1] + ")", text)
