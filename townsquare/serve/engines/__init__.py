"""What generates text: one engine a file, all with one shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from townsquare.errors import TownsquareError
from townsquare.model.chat import Turn
from townsquare.square import Square

if TYPE_CHECKING:
    from townsquare.serve.config import ServeConfig


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next tokens are chosen."""

    max_tokens: int = 160
    """The most tokens of a reply."""
    temperature: float = 0.0
    """0 takes the likeliest token every time."""
    top_p: float = 1.0
    """Only tokens within this share of probability are drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply; they are not part of it."""
    seed: int | None = None
    """Of the draw; None lets the engine choose."""
    schema: str | None = None
    """A JSON schema, as JSON: the reply is JSON that fits it. `{}` takes any JSON, None is plain text."""
    logprobs: int | None = None
    """How many of the likeliest tokens are told beside each that was taken; None tells nothing of tokens."""


class Piece(str):
    """A piece of a reply that knows its tokens."""

    __slots__ = ("tokens",)
    tokens: list[dict[str, Any]]
    """As OpenAI writes them: token, bytes, logprob, top_logprobs."""

    @classmethod
    def of(cls, text: str, choice: dict[str, Any], most: int | None) -> str:
        """The text with the tokens of an OpenAI-like choice and at most this many others beside each, if told."""
        told = choice.get("logprobs")
        if most is None or not isinstance(told, dict) or not isinstance(told.get("content"), list):
            return text
        piece = cls(text)
        piece.tokens = [
            {"token": one["token"], "bytes": one.get("bytes"), "logprob": one["logprob"],
             "top_logprobs": [_other(other) for other in one.get("top_logprobs", [])[:most]]}
            for one in told["content"]
        ]  # fmt: skip
        return piece


def _other(one: dict[str, Any]) -> dict[str, Any]:
    return {"token": one["token"], "bytes": one.get("bytes"), "logprob": one["logprob"]}


@dataclasses.dataclass(frozen=True)
class Spent:
    """The tokens of one reply: read, and written."""

    prompt_tokens: int
    completion_tokens: int
    counted: bool = True
    """Whether the engine counted them; else they are reckoned from the text."""

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of(cls, usage: object) -> Spent | None:
        """From the `usage` of an OpenAI-like record; None where it holds no such figures."""
        if not isinstance(usage, dict):
            return None
        read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        return cls(read, written) if type(read) is int and type(written) is int and min(read, written) >= 0 else None


class Engine(Protocol):
    """A model that continues a conversation."""

    name: str
    """The model's name as clients see it."""
    parallel: int
    """How many requests it works on at once; more would only wait inside it."""
    offers: frozenset[str]
    """What of Sampling it heeds beyond what all do: json, for its schema; logprobs."""

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str | Spent]:
        """The assistant's next turn in pieces of text, then what it took where the engine tells.

        Raises EngineError when the engine is away or too slow.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds. Closing twice is harmless."""
        ...


@runtime_checkable
class Embedding(Protocol):
    """An engine that also gives vectors of texts."""

    def embed(self, model: str, texts: Sequence[str]) -> tuple[Sequence[Sequence[float]], int]:
        """A vector for each text, by the engine's model of that name, and the tokens read. Raises EngineError."""
        ...


class EngineError(TownsquareError):
    """The engine is away, timed out or refused."""

    exit_code = 9


def open_engine(square: Square, config: ServeConfig) -> Engine:
    """The engine that `config.engine` names. Raises EngineError, InputError or StaleError when it cannot start."""
    if config.engine == "llamacpp":
        from townsquare.serve.engines.llamacpp import LlamaCpp

        return LlamaCpp.open(square, config)
    from townsquare.serve.engines.upstream import Upstream

    return Upstream(config.engine, config.model, timeout_seconds=config.timeout_seconds)
