"""OpenAI's replies: answers, whole and as server-sent events, and vectors.

Fields beyond OpenAI's on the message, on the last delta of a choice, and on the choice of a legacy completion:
`citations`, `sentences`, `as_of`, `found`; on that delta also `checked`, the answer's text after the check.
`usage` is null where the engine did not tell it, or was left before its end: no figure is made up.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from townsquare.serve.answers import Answer
from townsquare.serve.engines import Spent
from townsquare.serve.openai_shapes import AnswerRequest, ChatRequest, EmbeddingRequest

DONE = "data: [DONE]\n\n"


class Shape:
    """How the answers to one request are written; `index` is which of its choices one is."""

    def __init__(self, request: AnswerRequest) -> None:
        self._chat = isinstance(request, ChatRequest)
        kind = ("chat.completion.chunk" if request.stream else "chat.completion") if self._chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": request.model,
        }
        self._begun: set[int] = set()
        self._usage = request.stream_options is not None and request.stream_options.include_usage
        self._spent: list[Spent | None] = []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """All choices at once."""
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        return {**self._head, "choices": choices, "usage": usage([answer.spent for answer in answers])}

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        ended = {"index": index, "finish_reason": "stop", "logprobs": _told(answer)}
        if not self._chat:
            return {**ended, "text": answer.text, **_checked(answer)}
        said = {"content": None, "refusal": answer.text} if answer.refused else {"content": answer.text}
        return {**ended, "message": {"role": "assistant", **said, **_checked(answer)}}

    def piece(self, index: int, text: str) -> str:
        """The event of one more piece; a choice's first also names the role."""
        return self._event(index, {**self._role(index), "content": text}, None)

    def last(self, index: int, answer: Answer) -> str:
        """The event of what the check found out, with the answer's text after it."""
        self._spent.append(answer.spent)
        refusal = {"refusal": answer.text} if answer.refused else {}
        delta = {**self._role(index), **refusal, "checked": answer.text, **_checked(answer)}
        return self._event(index, delta, "stop", _told(answer))

    def end(self) -> str:
        """What follows the last event of the last choice."""
        tally = event({**self._head, "choices": [], "usage": usage(self._spent)}) if self._usage else ""
        return tally + DONE

    def _role(self, index: int) -> dict[str, Any]:
        if index in self._begun:
            return {}
        self._begun.add(index)
        return {"role": "assistant"}

    def _event(
        self, index: int, delta: dict[str, Any], finish_reason: str | None, told: dict[str, Any] | None = None
    ) -> str:
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": told}
        if not self._chat:
            del choice["delta"]
            beyond = {name: value for name, value in delta.items() if name not in ("role", "content")}
            choice |= {"text": delta.get("content", ""), **beyond}
        return event({**self._head, "choices": [choice]})


def usage(spent: Sequence[Spent | None]) -> dict[str, int] | None:
    """What the engine counted for all choices; None where it did not for one."""
    counted = [one for one in spent if one is not None and one.counted]
    if not counted or len(counted) < len(spent):
        return None
    read, written = sum(one.prompt_tokens for one in counted), sum(one.completion_tokens for one in counted)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def vectors(request: EmbeddingRequest, found: Sequence[Sequence[float]] | np.ndarray, tokens: int) -> dict[str, Any]:
    """A list of `embedding` objects; base64 is of little-endian float32."""
    rows = np.asarray(found, np.float32)
    as_text = request.encoding_format == "base64"
    shown = [base64.b64encode(row.astype("<f4").tobytes()).decode() if as_text else row.tolist() for row in rows]
    return {
        "object": "list",
        "model": request.model,
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def event(body: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def model_object(name: str, created: int) -> dict[str, Any]:
    """A model as `/v1/models` lists it; `created` is when this server opened it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "townsquare"}


def _told(answer: Answer) -> dict[str, Any] | None:
    """`logprobs`: of the tokens that the engine wrote and the check let stand. Marks were numbered anew since."""
    return None if answer.tokens is None else {"content": list(answer.tokens), "refusal": None}


def _checked(answer: Answer) -> dict[str, Any]:
    found = answer.to_json()
    return {name: found[name] for name in ("citations", "sentences", "as_of", "found")}
