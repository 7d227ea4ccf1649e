"""The addresses under /v1: models, chat completions, completions and embeddings, as OpenAI's clients ask for them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from townsquare.errors import TownsquareError
from townsquare.serve import vectors
from townsquare.serve.answers import CHARACTERS_PER_TOKEN, Answer
from townsquare.serve.desk import BusyError, Desk
from townsquare.serve.engines import Embedding, EngineError
from townsquare.serve.keys import Keys
from townsquare.serve.meters import Meters
from townsquare.serve.openai_answers import Shape, event, model_object
from townsquare.serve.openai_answers import vectors as shaped_vectors
from townsquare.serve.openai_shapes import (
    AnswerRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    RequestError,
)
from townsquare.serve.tally import Tally

MOST_BODY_BYTES = 1 << 20
MOST_BODY_SECONDS = 30.0

T = TypeVar("T")
Pieces = AsyncGenerator[str | Answer, None]
Choices = AsyncGenerator[tuple[int, str | Answer], None]
"""Pieces of several answers as they come, each with which it is a piece of."""


class GoneError(Exception):
    """The client has left."""


def add_v1(app: FastAPI, desk: Desk, till: Till) -> None:
    """Add the addresses; answers are charged at the till."""
    opened = int(time.time())
    names = [desk.assistant.engine.name, *([vectors.NAME] if vectors.installed() else [])]

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model_object(name, opened) for name in names]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        _require_model(name, names)
        return JSONResponse(model_object(name, opened))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _answered(request, ChatRequest.parse(await body_of(request)), desk, till)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _answered(request, CompletionRequest.parse(await body_of(request)), desk, till)

    @functools.cache
    def packaged() -> vectors.Vectors:
        return vectors.Vectors()

    def embed_here(_: str, texts: Sequence[str]) -> tuple[Any, int]:
        return packaged().embed(texts)

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        asked = EmbeddingRequest.parse(await body_of(request))
        if asked.model == vectors.NAME and vectors.installed():
            embed: Callable[[str, Sequence[str]], tuple[Any, int]] = embed_here
        elif isinstance(desk.assistant.engine, Embedding):
            embed = desk.assistant.engine.embed
        else:
            raise _no_such_model(names[1:])
        found, tokens = await run_in_threadpool(embed, asked.model, asked.texts())
        await run_in_threadpool(till.charge, getattr(request.state, "key", ""), tokens)
        return JSONResponse(shaped_vectors(asked, found, tokens))


async def _answered(request: Request, asked: AnswerRequest, desk: Desk, till: Till) -> Response:
    """All choices of a request: whole, or streamed as they come."""
    engine, key = desk.assistant.engine, getattr(request.state, "key", "")
    _require_model(asked.model, [engine.name])
    asks, wanted, shape = asked.asks(engine.offers), asked.wanted(), Shape(asked)
    streams = [till.metered(desk.stream(turns, sampling, wanted, who=key), key) for turns, sampling in asks]
    choices = _merged(streams)
    if not asked.stream:
        answers = await _while_there(request, _whole(choices, len(asks)))
        return JSONResponse(shape.whole(answers))
    # An engine that is away is told by the status, so the status waits for the first piece.
    first = await _while_there(request, _first(choices))
    return _Events(_events(shape, first, choices), media_type="text/event-stream")


@dataclasses.dataclass(frozen=True)
class Till:
    """Where answers are counted, and charged to the key that asked."""

    keys: Keys
    meters: Meters
    tally: Tally

    async def metered(self, pieces: Pieces, key: str) -> Pieces:
        """The same pieces. A reader that leaves before the end pays for what it was sent."""
        sent, answer = 0, None
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    if isinstance(piece, Answer):
                        answer = piece
                        self.meters.answer(answer)
                        self.tally.count(answer, key)
                    else:
                        sent += len(piece)
                    yield piece
        finally:
            tokens = answer.spent.total if answer and answer.spent else sent // CHARACTERS_PER_TOKEN
            self.charge(key, tokens)

    def charge(self, key: str, tokens: int) -> None:
        """Put tokens on a key's account; without keys there is none."""
        if key and tokens:
            self.keys.charge(key, tokens, time.time())


def _require_model(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise _no_such_model(known)


def _no_such_model(known: Sequence[str]) -> RequestError:
    told = f"there is no such model here; this server has {', '.join(known) or 'none for that'}"
    return RequestError(404, told, param="model", code="model_not_found")


async def body_of(request: Request) -> bytes:
    """The request's body. JSON must be declared: a browser then asks before it lets another site's script send it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "send the body with Content-Type: application/json", code="wrong_content_type")
    too_long = RequestError(413, f"the body is over {MOST_BODY_BYTES:,} bytes", code="request_too_large")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MOST_BODY_BYTES:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(MOST_BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY_BYTES:
                    raise too_long
    except TimeoutError:
        raise RequestError(408, f"the body took over {MOST_BODY_SECONDS:.0f} seconds", code="request_timeout") from None
    return bytes(body)


async def _merged(streams: Sequence[Pieces]) -> Choices:
    """The pieces of all, until each has ended with its Answer. The first error ends all."""
    queue: asyncio.Queue[tuple[int, str | Answer | Exception]] = asyncio.Queue()

    async def feed(index: int, pieces: Pieces) -> None:
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    queue.put_nowait((index, piece))
        except Exception as error:
            queue.put_nowait((index, error))

    feeding = [asyncio.ensure_future(feed(index, pieces)) for index, pieces in enumerate(streams)]
    try:
        left = len(streams)
        while left:
            index, piece = await queue.get()
            if isinstance(piece, Exception):
                raise piece
            left -= isinstance(piece, Answer)
            yield index, piece
    finally:
        for task in feeding:
            task.cancel()
        await asyncio.gather(*feeding, return_exceptions=True)


async def _whole(choices: Choices, count: int) -> list[Answer]:
    async with contextlib.aclosing(choices):
        answers = {index: piece async for index, piece in choices if isinstance(piece, Answer)}
    return [answers[index] for index in range(count)]


async def _first(choices: Choices) -> tuple[int, str | Answer]:
    return await anext(choices)


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result. A client that leaves cancels it, so that the engine does not write for nobody."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise GoneError
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _events(shape: Shape, first: tuple[int, str | Answer], choices: Choices) -> AsyncGenerator[str, None]:
    """The choices' server-sent events. An error after the first is an event too, and then there is no [DONE]."""

    def told(index: int, piece: str | Answer) -> str:
        return shape.last(index, piece) if isinstance(piece, Answer) else shape.piece(index, piece)

    async with contextlib.aclosing(choices):
        yield told(*first)
        try:
            async for index, piece in choices:
                yield told(index, piece)
        except TownsquareError as error:
            yield event(as_request_error(error).body)
            return
        yield shape.end()


class _Events(StreamingResponse):
    """Closes its events as soon as the client has left, not when they are collected."""

    async def stream_response(self, send: Any) -> None:
        async with contextlib.aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


def as_request_error(error: TownsquareError) -> RequestError:
    """A mistake below, in OpenAI's shape: what is wrong and what to do, without places on this machine."""
    said = f"{error.message}. {error.remedy}" if error.remedy else error.message
    if isinstance(error, BusyError):
        return RequestError(429, said, kind="rate_limit_error", code="rate_limit_exceeded")
    code = "engine_away" if isinstance(error, EngineError) else "unavailable"
    return RequestError(503, said, kind="server_error", code=code)
