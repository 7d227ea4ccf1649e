"""OpenAI's chat shapes: what a request may hold, and how answers, chunks and errors are written.

A field beyond OpenAI's on the request: `filters` (filters.Filters). On the message and on the last chunk's
delta: `citations`, `sentences`, `as_of`, `found`, and on that delta `checked`, the answer's text after the check.
`usage` is null where the engine did not tell it, or was left before its end: no figure is made up.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from townsquare.errors import ConfigError
from townsquare.model.chat import Turn
from townsquare.serve.answers import Answer
from townsquare.serve.engines import Sampling, Spent
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.opinions import Opinion

DONE = "data: [DONE]\n\n"

NOT_OFFERED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
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


class ChatRequest(BaseModel):
    """The body of a chat completion request. Unknown fields are kept aside, so that NOT_OFFERED can be looked up."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: bool | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: int | None = None
    filters: _Filters | None = None
    stream_options: _StreamOptions | None = None

    @classmethod
    def parse(cls, body: bytes) -> ChatRequest:
        """Read a request's body. Raises RequestError that names the field and never repeats what it held."""
        try:
            request = cls.model_validate_json(body)
        except ValidationError as error:
            raise _first(error) from None
        for name, value in (request.model_extra or {}).items():
            if value is not None and name in NOT_OFFERED and value not in NOT_OFFERED[name]:
                raise RequestError(
                    400, f"this server does not offer {name}; leave it out", param=name, code="unsupported_parameter"
                )
        if request.messages[-1].role != "user" or not request.messages[-1].turn()[1].strip():
            raise RequestError(400, "the last message must be the user's, and not empty", param="messages")
        return request

    def turns(self) -> list[Turn]:
        """The conversation so far."""
        return [message.turn() for message in self.messages]

    def wanted(self) -> Filters:
        """Which posts the answer may rest on."""
        return self.filters.made() if self.filters else NONE

    def sampling(self) -> Sampling:
        """What the request asks for, and the engine's own defaults where it is silent."""
        asked = {
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            "seed": self.seed,
        }
        return Sampling(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]


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


def _first(error: ValidationError) -> RequestError:
    """The first complaint of those that reach deepest: of text or parts, the alternative that was meant."""
    complaints = error.errors(include_url=False, include_input=False, include_context=False)
    found = max(complaints, key=lambda complaint: len(complaint["loc"]))
    if found["type"] == "json_invalid":
        return RequestError(400, f"the body is not JSON: {found['msg']}", code="invalid_json")
    known = {name for model in (ChatRequest, _Message, _TextPart, _Filters, Judgement) for name in model.model_fields}
    place = ".".join(str(part) for part in found["loc"] if isinstance(part, int) or part in known)
    return RequestError(400, f"{place or 'the body'}: {found['msg']}", param=place or None)


def completion(request: ChatRequest, answer: Answer) -> dict[str, Any]:
    """A whole answer as a `chat.completion` object."""
    message = {"role": "assistant", "content": answer.text, **_checked(answer)}
    return {
        **_head("chat.completion", request.model),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": usage(answer.spent),
    }


def usage(spent: Spent | None) -> dict[str, int] | None:
    """What the engine counted."""
    if spent is None or not spent.counted:
        return None
    return {
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "total_tokens": spent.total,
    }


class Chunks:
    """The events of one streamed answer: `piece` for each piece of text, then `last`."""

    def __init__(self, request: ChatRequest) -> None:
        self._head = _head("chat.completion.chunk", request.model)
        self._delta: dict[str, Any] = {"role": "assistant"}
        self._usage = request.stream_options is not None and request.stream_options.include_usage

    def piece(self, text: str) -> str:
        """One more piece; the first also names the role."""
        delta, self._delta = {**self._delta, "content": text}, {}
        return self._event(delta, None)

    def last(self, answer: Answer) -> str:
        """What the check found out, with the answer's text after it."""
        told = self._event({**self._delta, "checked": answer.text, **_checked(answer)}, "stop")
        return told + (event({**self._head, "choices": [], "usage": usage(answer.spent)}) if self._usage else "")

    def _event(self, delta: dict[str, Any], finish_reason: str | None) -> str:
        return event({**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def event(body: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def model_object(name: str, created: int) -> dict[str, Any]:
    """A model as `/v1/models` lists it; `created` is when this server opened it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "townsquare"}


def _checked(answer: Answer) -> dict[str, Any]:
    found = answer.to_json()
    return {name: found[name] for name in ("citations", "sentences", "as_of", "found")}


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}
