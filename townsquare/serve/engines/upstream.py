"""Any OpenAI-compatible server by URL: vLLM, llama.cpp's own, a hosted one. It is only asked when named."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from townsquare.model.chat import Turn, neutral
from townsquare.serve.engines import EngineError, Piece, Sampling, Spent

KEY_VARIABLE = "TOWNSQUARE_UPSTREAM_KEY"
"""The environment variable with the upstream's API key, where it wants one."""
ATTEMPTS = 3
WAIT_SECONDS = 0.5
"""Before the second attempt; the third waits twice as long."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_LINE = 1 << 20
LARGEST_VECTORS_BYTES = 64 << 20
PARALLEL = 64
"""Requests that are sent at once: servers such as vLLM batch them."""


class Upstream:
    """A model behind `URL/chat/completions`, and others behind `URL/embeddings`."""

    parallel = PARALLEL
    offers = frozenset({"json", "logprobs"})

    def __init__(self, url: str, model: str, *, timeout_seconds: float) -> None:
        self.name = model
        self._url = urlsplit(url.rstrip("/"))
        self._timeout = timeout_seconds

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str | Spent]:
        """The next turn in pieces, then what it took if the upstream tells.

        Retries until the first byte of an answer. Raises EngineError.
        """
        body = json.dumps(_request(self.name, messages, sampling)).encode()
        connection, response = self._ask("chat/completions", body)
        try:
            yield from _pieces(response, sampling.logprobs)
        except (OSError, http.client.HTTPException) as error:
            raise self._away(f"broke off: {error or type(error).__name__}") from error
        finally:
            response.close()
            connection.close()

    def embed(self, model: str, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        """A vector for each text, by the upstream's model of that name, and the tokens read. Raises EngineError."""
        connection, response = self._ask("embeddings", json.dumps({"model": model, "input": list(texts)}).encode())
        try:
            record = json.loads(response.read(LARGEST_VECTORS_BYTES))
            rows = sorted(record["data"], key=lambda row: row["index"])
            vectors = [[float(value) for value in row["embedding"]] for row in rows]
            tokens = int((record.get("usage") or {}).get("prompt_tokens", 0))
        except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._away(f"gave no vectors: {type(error).__name__}") from error
        finally:
            response.close()
            connection.close()
        if len(vectors) != len(texts):
            raise self._away(f"gave {len(vectors)} vectors for {len(texts)} texts")
        return vectors, tokens

    def close(self) -> None:
        """Nothing is held between requests."""

    def _ask(self, address: str, body: bytes) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(WAIT_SECONDS * 2 ** (attempt - 1))
            connection = self._connection()
            try:
                connection.request("POST", f"{self._url.path}/{address}", body, _headers())
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                why = "cannot be reached: " + (str(error) or type(error).__name__)
                continue
            if response.status == 200:
                return connection, response
            why = f"answered {response.status}: {response.read(400).decode(errors='replace').strip()}"
            response.close()
            connection.close()
            if response.status not in TRANSIENT:
                break
        raise self._away(why)

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.hostname or "", self._url.port, timeout=self._timeout)

    def _away(self, why: str) -> EngineError:
        return EngineError(
            f"the upstream {why}",
            place=f"{self._url.scheme}://{self._url.hostname}:{self._url.port or ''}{self._url.path}".rstrip(":"),
            remedy=f"Check that it runs and serves {self.name!r}; a key goes into {KEY_VARIABLE}.",
        )


def _headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    key = os.environ.get(KEY_VARIABLE)
    return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def _request(model: str, messages: Sequence[Turn], sampling: Sampling) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": model,
        "messages": [{"role": role, "content": neutral(text)} for role, text in messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.stop:
        request["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        request["seed"] = sampling.seed
    if sampling.logprobs is not None:
        request |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if sampling.schema is not None:
        schema = json.loads(sampling.schema)
        named = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        request["response_format"] = named if schema else {"type": "json_object"}
    return request


def _pieces(response: http.client.HTTPResponse, logprobs: int | None) -> Iterator[str | Spent]:
    """Texts and usage of a stream of server-sent events; raises HTTPException when it ends before its end mark."""
    while line := response.readline(LONGEST_LINE):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        try:
            record = json.loads(data)
            text, spent = _text(record, logprobs), Spent.of(record.get("usage"))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise http.client.HTTPException(f"not a completion: {data[:200].decode(errors='replace')}") from error
        if text:
            yield text
        if spent:
            yield spent
    raise http.client.IncompleteRead(b"")


def _text(record: dict[str, Any], logprobs: int | None) -> str | None:
    if record.get("error"):
        raise http.client.HTTPException(str(record["error"])[:200])
    if not record.get("choices"):
        return None  # a closing record with figures only
    choice = record["choices"][0]
    text = choice["delta"].get("content")
    return Piece.of(text, choice, logprobs) if isinstance(text, str) else None
