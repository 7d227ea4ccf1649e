"""The assistant: a question -> posts, a model's words about them, and only what the check lets stand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import takewhile
from types import TracebackType
from typing import Any

from townsquare.model import chat
from townsquare.model.chat import Turn
from townsquare.serve import citations, index, opinions, retrieval, structured
from townsquare.serve.answers import CHARACTERS_PER_TOKEN, Answer, Citation, Sentence
from townsquare.serve.citations import Source
from townsquare.serve.config import ServeConfig
from townsquare.serve.engines import Engine, Sampling, Spent, open_engine
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.fresh import Fresh
from townsquare.serve.opinions import Opinion
from townsquare.serve.retrieval import Hit
from townsquare.serve.standing import Standing
from townsquare.serve.words import words
from townsquare.square import Square

_FOLLOWS_UP = re.compile(
    r"^(?:and|but|so|also|what about|how about)\b|\b(?:it|they|there|he|she|that|those|them)\b", re.I
)


class Assistant:
    """Answers from a square's posts. `open` one; it is a context manager."""

    def __init__(self, square: Square, config: ServeConfig, engine: Engine) -> None:
        self._square, self._config = square, config
        self._fresh = Fresh(square)
        self._standing = Standing(square)
        self.engine = engine

    @classmethod
    def open(cls, square: Square, config: ServeConfig) -> Assistant:
        """Start the engine. Raises StaleError without an index or model, EngineError, InputError."""
        index.dataset(square)
        return cls(square, config, open_engine(square, config))

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, messages: Sequence[Turn], sampling: Sampling = Sampling(), *, filters: Filters = NONE) -> Answer:
        """The whole answer to the last turn of a conversation."""
        *_, last = self.stream(messages, sampling, filters=filters)
        assert isinstance(last, Answer)
        return last

    def stream(
        self,
        messages: Sequence[Turn],
        sampling: Sampling = Sampling(),
        stopped: Callable[[], bool] = lambda: False,
        *,
        filters: Filters = NONE,
    ) -> Iterator[str | Answer]:
        """Checked sentences as they come, then the Answer: the sentences joined are its text.

        A sentence of the model that no cited post supports is left out; when none stands, the best
        post is quoted in its own words. Once `stopped` is true, the engine is asked for no more.
        """
        question = question_of(messages)
        fresh = self._fresh.table()
        hits = retrieval.search(self._standing, question, self._config.posts, filters=filters, fresh=fresh)
        if not hits:
            if sampling.schema is None:
                yield chat.NOTHING_FOUND
            nothing = [Sentence(chat.NOTHING_FOUND, (), False, False)]
            answer = self._answer(nothing, [], found=False, spent=Spent(0, 0))
            yield dataclasses.replace(answer, refused=sampling.schema is not None)
            return
        if sampling.schema is not None:
            yield from self._structured(messages, hits, sampling, stopped)
            return
        kept: list[Sentence] = []
        cited: list[int] = []  # places in `hits`, in the order in which the answer first cites them
        turns = prompt(messages, hits, self._config.context_tokens - sampling.max_tokens)
        reading = Reading(self.engine, turns, sampling, stopped)
        for sentence in checked(question, hits, reading):
            kept.append(renumbered(sentence, cited))
            yield (" " if len(kept) > 1 else "") + marked(kept[-1])
        if not kept:
            kept.append(renumbered(quotation(question, hits[0]), cited))
            yield marked(kept[0])
        answer = self._answer(kept, [hits[place - 1] for place in cited], found=True, spent=reading.spent)
        yield dataclasses.replace(answer, tokens=reading.tokens)

    def _structured(
        self, messages: Sequence[Turn], hits: Sequence[Hit], sampling: Sampling, stopped: Callable[[], bool]
    ) -> Iterator[str | Answer]:
        """JSON in one piece, for before its end nothing in it can be checked; then the Answer, which may refuse."""
        schema = sampling.schema or "{}"
        room = self._config.context_tokens - sampling.max_tokens - len(schema) // CHARACTERS_PER_TOKEN
        turns = structured.instructed(prompt(messages, hits, room), schema)
        reading = Reading(self.engine, turns, sampling, stopped)
        reply = "".join(reading)
        refusal, values = structured.checked(reply, sources_of(hits))
        cited: list[int] = []
        kept = [renumbered(value, cited) for value in values]
        answer = self._answer(kept, [hits[place - 1] for place in cited], found=refusal is None, spent=reading.spent)
        if refusal is None:
            reading.stands(0, len(reply))
            yield reply
        yield dataclasses.replace(answer, text=refusal or reply, refused=refusal is not None, tokens=reading.tokens)

    def post(self, uid: str) -> Citation | None:
        """A post's card if it may be shown right now, else None."""
        found = self._standing.read(lambda now: now.allowed([uid])).get(uid)
        return found.cited(1) if found else None

    def thread(self, uid: str) -> tuple[list[Citation], list[Citation]]:
        """The cards of the posts before and after a post in its thread that may be shown right now."""
        before, after = self._standing.read(lambda now: now.around(uid))
        return [post.cited(1) for post in before], [post.cited(1) for post in after]

    def judge(self, opinion: Opinion) -> None:
        """Keep what a reader thinks of an answer."""
        opinions.keep(self._square, opinion)

    def _answer(self, kept: Sequence[Sentence], cited: Sequence[Hit], *, found: bool, spent: Spent) -> Answer:
        return Answer(
            text=" ".join(map(marked, kept)),
            sentences=tuple(kept),
            citations=tuple(hit.post.cited(number) for number, hit in enumerate(cited, start=1)),
            as_of=self._newest(),
            found=found,
            engine=self.engine.name,
            spent=spent,
        )

    def _newest(self) -> str | None:
        fresh = self._fresh.table()
        dates = [self._standing.read(lambda now: now.words.newest), *([index.newest(fresh)] if fresh else [])]
        newest = max((date for date in dates if date), default=None)
        return newest.date().isoformat() if newest else None


class Reading:
    """A reply as it is read: pieces of text until it ends or `stopped` is true; then what it took."""

    def __init__(self, engine: Engine, turns: Sequence[Turn], sampling: Sampling, stopped: Callable[[], bool]) -> None:
        self._given = sum(len(text) for _, text in turns)
        self._pieces, self._stopped, self._written = engine.stream(turns, sampling), stopped, 0
        self._told: Spent | None = None
        self._tokens: list[tuple[int, dict[str, Any]]] = []  # each with where its piece begins
        self._standing: list[dict[str, Any]] | None = None if sampling.logprobs is None else []
        self._length = 0

    def __iter__(self) -> Generator[str, None, None]:
        try:
            for piece in takewhile(lambda _: not self._stopped(), self._pieces):
                if isinstance(piece, Spent):
                    self._told = piece
                else:
                    self._written += 1
                    self._tokens += [(self._length, token) for token in getattr(piece, "tokens", ())]
                    self._length += len(piece)
                    yield piece
        finally:
            if isinstance(self._pieces, Generator):
                self._pieces.close()  # the engine stops at once

    def stands(self, start: int, end: int) -> None:
        """Tell that the reply's characters from `start` to `end` are in the answer: their tokens may be told."""
        if self._standing is not None:
            self._standing += [token for place, token in self._tokens if start <= place < end]

    @property
    def tokens(self) -> tuple[dict[str, Any], ...] | None:
        """Of what stands, if tokens were asked for. Those of sentences that were left out are nobody's to read."""
        return None if self._standing is None else tuple(self._standing)

    @property
    def spent(self) -> Spent:
        """As the engine told; of a reply that was not read to its end, reckoned: a piece is about a token."""
        return self._told or Spent(self._given // CHARACTERS_PER_TOKEN, self._written, counted=False)


def checked(question: str, hits: Sequence[Hit], reading: Reading) -> Iterator[Sentence]:
    """The model's sentences that a cited post supports and that bear on the question, each once."""
    sources = sources_of(hits)
    seen: set[str] = set()
    start = 0
    with closing(iter(reading)) as pieces:
        for reply in citations.whole_sentences(pieces):
            standing = []
            for text, numbers in citations.split_marks(reply):
                if text in seen:
                    return  # a model that repeats itself has nothing more to say
                seen.add(text)
                sentence = citations.check(text, numbers, sources)
                standing.append(sentence.supported and retrieval.bears_on(question, text))
                if standing[-1]:
                    yield sentence
            if standing and all(standing):
                reading.stands(start, start + len(reply))
            start += len(reply)


def sources_of(hits: Sequence[Hit]) -> list[Source]:
    """The posts as the check reads them."""
    return [Source(hit.post.text, hit.parent.text if hit.parent else "") for hit in hits]


def last_of(messages: Sequence[Turn], role: str, skip: int = 0) -> str:
    """The text of the last turn of a role, or of one before it; empty when there is none."""
    texts = [text for who, text in messages if who == role]
    return texts[-1 - skip] if len(texts) > skip else ""


def follows_up(messages: Sequence[Turn]) -> bool:
    """Whether the last question can only be understood with the one before it."""
    return bool(last_of(messages, "user", skip=1) and _FOLLOWS_UP.search(last_of(messages, "user").strip()))


def question_of(messages: Sequence[Turn]) -> str:
    """What to search for: the last question; a follow-up takes from the one before what it leaves unsaid."""
    last = last_of(messages, "user")
    if not follows_up(messages):
        return last
    before, said = last_of(messages, "user", skip=1), words(last)
    names = [(word.start, word.start + len(word.raw)) for word in words(before) if word.kind == "name"]
    if any(word.kind == "name" for word in said):  # "and the Lowfield Library?": the same of another
        for start, end in reversed(names):
            before = before[:start] + before[end:]
    elif any(word.kind != "empty" for word in said):  # "and who owns it?": another of the same
        return f"{last} ({', '.join(before[start:end] for start, end in names)})"
    return f"{before}\n{last}"


def prompt(messages: Sequence[Turn], hits: Sequence[Hit], tokens: int) -> list[Turn]:
    """The turns that the model is given: a follow-up's question and answer before it, then the grounded question.

    Posts are cut so that all of it fits `tokens`, reckoned at CHARACTERS_PER_TOKEN.
    """
    room = max(tokens, 64) * CHARACTERS_PER_TOKEN
    question = last_of(messages, "user")[: room // 4]
    each = (room - len(question)) // (2 * max(len(hits), 1))
    posts = [citations.plain_brackets(hit.post.text)[:each] for hit in hits]
    grounded: Turn = ("user", chat.neutral(chat.grounded_prompt(question, posts)))
    history = [("user", last_of(messages, "user", skip=1)), ("assistant", last_of(messages, "assistant"))]
    fits = sum(len(text) for _, text in [*history, grounded]) <= room
    return [*history, grounded] if follows_up(messages) and fits and all(text for _, text in history) else [grounded]


def quotation(question: str, hit: Hit) -> Sentence:
    """The best post in its own words, as post [1]."""
    return Sentence(f"“{citations.quote(hit.post.text, question)}”", (1,), True, True)


def renumbered(sentence: Sentence, cited: list[int]) -> Sentence:
    """The sentence with posts numbered in the order of their first citation; `cited` grows by new ones."""
    cited += [number for number in sentence.citations if number not in cited]
    return dataclasses.replace(sentence, citations=tuple(cited.index(number) + 1 for number in sentence.citations))


def marked(sentence: Sentence) -> str:
    """A sentence with its citation marks."""
    return sentence.text + "".join(f" [{number}]" for number in sentence.citations)
