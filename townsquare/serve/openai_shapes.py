"""OpenAI's requests: what one may hold, and what is asked with it. A field beyond OpenAI's: `filters`."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from townsquare.errors import ConfigError
from townsquare.model.chat import Turn
from townsquare.serve.engines import Sampling
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.opinions import Opinion

MOST_CHOICES = 8
"""Of one request: each is an answer of its own."""
MOST_TEXTS = 256
"""Whose vectors one request may ask for."""
Ask = tuple[list[Turn], Sampling]
"""What one choice of the reply is the answer to."""

NOT_OFFERED: dict[str, tuple[Any, ...]] = {
    "logprobs": (),  # of legacy completions, where they have another shape
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}
"""Fields that would change the answer and that no engine here heeds, with the values that ask for nothing."""


class RequestError(Exception):
    """A request that cannot be answered: status, and what OpenAI's error object holds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class _TextPart(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]

    def turn(self) -> Turn:
        role = "system" if self.role == "developer" else self.role
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return role, text


class _Filters(BaseModel):
    """filters.Filters as JSON; a field that is not known is refused, for it would silently filter nothing."""

    model_config = ConfigDict(strict=True, extra="forbid")

    authors: list[str] = []
    languages: list[str] = []
    networks: list[str] = []
    since: str | None = None
    until: str | None = None

    def made(self) -> Filters:
        try:
            return Filters(tuple(self.authors), tuple(self.languages), tuple(self.networks), self.since, self.until)
        except ConfigError as error:
            raise RequestError(400, f"{error.message}. {error.remedy}", param="filters") from None


class _StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool = False


class _JsonSchema(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    schema_: dict[str, Any] = Field(alias="schema")


class _Format(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None

    def schema_text(self) -> str | None:
        """As Sampling.schema has it."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return "{}"
        if self.json_schema is None:
            raise RequestError(400, "json_schema: name and schema are missing", param="response_format.json_schema")
        return json.dumps(self.json_schema.schema_)


class AnswerRequest(BaseModel):
    """What requests for answers share. Unknown fields are kept aside, so that NOT_OFFERED can be looked up."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    stream: bool | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    filters: _Filters | None = None
    stream_options: _StreamOptions | None = None

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a request's body. Raises RequestError that names the field and never repeats what it held."""
        try:
            request = cls.model_validate_json(body)
        except ValidationError as error:
            raise _first(error) from None
        for name, value in (request.model_extra or {}).items():
            if value is not None and name in NOT_OFFERED and value not in NOT_OFFERED[name]:
                raise _not_offered(name)
        request.check()
        return request

    def check(self) -> None:
        """Raise RequestError for what the types do not tell."""

    def wanted(self) -> Filters:
        """Which posts the answer may rest on."""
        return self.filters.made() if self.filters else NONE

    def sampling(self) -> Sampling:
        """What the request asks for, and the engine's own defaults where it is silent."""
        asked = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            "seed": self.seed,
        }
        return Sampling(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]

    def conversations(self) -> list[list[Turn]]:
        """What is to be answered."""
        raise NotImplementedError

    def asks(self, offers: frozenset[str]) -> list[Ask]:
        """One for each choice. Raises RequestError for what an engine that `offers` this cannot do.

        Choices of one conversation differ by their seeds; where none was given the engine draws one for each.
        """
        sampling = self.sampling()
        if sampling.schema is not None and "json" not in offers:
            raise _not_offered("response_format")
        if sampling.logprobs is not None and "logprobs" not in offers:
            raise _not_offered("logprobs")
        seeds = [None if self.seed is None else self.seed + choice for choice in range(self.n or 1)]
        each = [dataclasses.replace(sampling, seed=seed) for seed in seeds]
        return [(turns, one) for turns in self.conversations() for one in each]


class ChatRequest(AnswerRequest):
    """The body of a chat completion request."""

    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: _Format | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def check(self) -> None:
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
        if self.messages[-1].role != "user" or not self.messages[-1].turn()[1].strip():
            raise RequestError(400, "the last message must be the user's, and not empty", param="messages")

    def conversations(self) -> list[list[Turn]]:
        return [[message.turn() for message in self.messages]]

    def sampling(self) -> Sampling:
        shared = super().sampling()
        schema = self.response_format.schema_text() if self.response_format else None
        most, told = (
            self.max_completion_tokens or shared.max_tokens,
            (self.top_logprobs or 0) if self.logprobs else None,
        )
        return dataclasses.replace(shared, schema=schema, max_tokens=most, logprobs=told)


class CompletionRequest(AnswerRequest):
    """The body of a (legacy) completion request: each prompt is a question."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES)]

    def check(self) -> None:
        if not all(turns[0][1].strip() for turns in self.conversations()):
            raise RequestError(400, "the prompt must not be empty", param="prompt")
        if len(self.conversations()) * (self.n or 1) > MOST_CHOICES:
            raise RequestError(400, f"prompts times n must be at most {MOST_CHOICES}", param="n")

    def conversations(self) -> list[list[Turn]]:
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [[("user", prompt)] for prompt in prompts]


class EmbeddingRequest(BaseModel):
    """The body of a request for vectors. Texts only: token ids would be of a tokenizer that is not known here."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MOST_TEXTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None

    @classmethod
    def parse(cls, body: bytes) -> EmbeddingRequest:
        """Read a body. Raises RequestError that names the field and never repeats what it held."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise _first(error) from None

    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


def _not_offered(name: str) -> RequestError:
    said = f"this server does not offer {name}; leave it out"
    return RequestError(400, said, param=name, code="unsupported_parameter")


class Judgement(BaseModel):
    """The body of /feedback."""

    model_config = ConfigDict(strict=True, extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=20_000)]
    answer: Annotated[str, Field(min_length=1, max_length=20_000)]
    uids: Annotated[list[str], Field(max_length=50)]
    verdict: Literal["good", "bad"]

    @classmethod
    def parse(cls, body: bytes) -> Judgement:
        """Read a body. Raises RequestError that names the field and never repeats what it held."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise _first(error) from None

    def opinion(self, model: str) -> Opinion:
        return Opinion(self.question, self.answer, tuple(self.uids), self.verdict, model)


_MODELS = (ChatRequest, CompletionRequest, EmbeddingRequest, _Message, _TextPart, _Filters, _Format, Judgement)


def _first(error: ValidationError) -> RequestError:
    """The first complaint of those that reach deepest: of text or parts, the alternative that was meant."""
    complaints = error.errors(include_url=False, include_input=False, include_context=False)
    found = max(complaints, key=lambda complaint: len(complaint["loc"]))
    if found["type"] == "json_invalid":
        return RequestError(400, f"the body is not JSON: {found['msg']}", code="invalid_json")
    known = {name for model in _MODELS for name in model.model_fields}
    place = ".".join(str(part) for part in found["loc"] if isinstance(part, int) or part in known)
    return RequestError(400, f"{place or 'the body'}: {found['msg']}", param=place or None)
