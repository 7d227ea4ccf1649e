"""The web application: OpenAI's API, posts' cards, and the page, all from one desk."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from importlib import resources
from typing import Any, TypeVar

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from townsquare.consent.grants import Grant
from townsquare.errors import InputError, TownsquareError
from townsquare.serve.answers import CHARACTERS_PER_TOKEN, Answer
from townsquare.serve.desk import BusyError, Desk
from townsquare.serve.engines import EngineError
from townsquare.serve.guard import Guard, refusal
from townsquare.serve.keys import Keys
from townsquare.serve.meters import CONTENT_TYPE, Meters
from townsquare.serve.openai_shapes import (
    DONE,
    ChatRequest,
    Chunks,
    Judgement,
    RequestError,
    completion,
    event,
    model_object,
)

MOST_BODY_BYTES = 1 << 20
MOST_BODY_SECONDS = 30.0
LONGEST_UID = 2048
PAGE_FILES = {
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript",
    "view.js": "text/javascript",
    "server.js": "text/javascript",
    "keep.js": "text/javascript",
    "about.js": "text/javascript",
}

T = TypeVar("T")
Pieces = AsyncGenerator[str | Answer, None]
Look = Callable[[str], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the page says about the square."""

    grants: tuple[Grant, ...]
    """Those by which posts may be shown today."""
    examples: tuple[str, ...]
    """Questions to start with; none: the page gives hints instead."""
    posts: int | None = None
    """How many the index held when it was built."""
    newest: str | None = None
    """ISO date of its newest post then."""

    @property
    def grantors(self) -> tuple[str, ...]:
        """Who gave the grants."""
        return tuple(dict.fromkeys(grant.grantor for grant in self.grants))


class GoneError(Exception):
    """The client has left."""


def make_app(desk: Desk, facts: Callable[[], Facts], keys: Keys, look: Look) -> FastAPI:
    """The application. `facts` is asked anew for every page; `look` tells where somebody's posts stand.

    The caller closes the desk and the keys.
    """
    meters = Meters()
    app = FastAPI(title="townsquare", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, keys=keys, meters=meters)
    _handle_errors(app)
    _add_api(app, desk, Till(keys, meters))
    _add_posts(app, desk, look)
    _add_health(app, desk, meters)
    _add_page(app, desk, facts)
    return app


def _add_api(app: FastAPI, desk: Desk, till: Till) -> None:
    opened = int(time.time())

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model_object(desk.assistant.engine.name, opened)]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        _require_model(name, desk)
        return JSONResponse(model_object(name, opened))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = ChatRequest.parse(await _body(request))
        _require_model(asked.model, desk)
        key = getattr(request.state, "key", "")
        pieces = till.metered(desk.stream(asked.turns(), asked.sampling(), asked.wanted(), who=key), key)
        if not asked.stream:
            return JSONResponse(completion(asked, await _while_there(request, _whole(pieces))))
        # An engine that is away is told by the status, so the status waits for the first piece.
        first = await _while_there(request, _first(pieces))
        return _Events(_events(Chunks(asked), first, pieces), media_type="text/event-stream")


@dataclasses.dataclass(frozen=True)
class Till:
    """Where answers are counted, and charged to the key that asked."""

    keys: Keys
    meters: Meters

    async def metered(self, pieces: Pieces, key: str) -> Pieces:
        """The same pieces. A reader that leaves before the end pays for what it was sent."""
        sent, answer = 0, None
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    if isinstance(piece, Answer):
                        answer = piece
                        self.meters.answer(answer)
                    else:
                        sent += len(piece)
                    yield piece
        finally:
            tokens = answer.spent.total if answer and answer.spent else sent // CHARACTERS_PER_TOKEN
            if key and tokens:
                self.keys.charge(key, tokens, time.time())


def _require_model(name: str, desk: Desk) -> None:
    own = desk.assistant.engine.name
    if name != own:
        raise RequestError(404, f"there is no such model here; this server has {own}", param="model",
                           code="model_not_found")  # fmt: skip


async def _body(request: Request) -> bytes:
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


async def _whole(pieces: Pieces) -> Answer:
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answer):
                return piece
    raise AssertionError("a desk's stream ends with the Answer")


async def _first(pieces: Pieces) -> str | Answer:
    return await anext(pieces)


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


async def _events(chunks: Chunks, first: str | Answer, pieces: Pieces) -> AsyncGenerator[str, None]:
    """An answer's server-sent events. An error after the first is an event too, and then there is no [DONE]."""
    async with contextlib.aclosing(pieces):
        yield chunks.last(first) if isinstance(first, Answer) else chunks.piece(first)
        try:
            async for piece in pieces:
                yield chunks.last(piece) if isinstance(piece, Answer) else chunks.piece(piece)
        except TownsquareError as error:
            yield event(_as_request_error(error).body)
            return
        yield DONE


class _Events(StreamingResponse):
    """Closes its events as soon as the client has left, not when they are collected."""

    async def stream_response(self, send: Any) -> None:
        async with contextlib.aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


def _add_posts(app: FastAPI, desk: Desk, look: Look) -> None:
    @app.get("/posts")
    async def posts(uid: str = "", thread: bool = False) -> Response:
        if not 0 < len(uid) <= LONGEST_UID:
            raise RequestError(400, f"name one post: /posts?uid=..., at most {LONGEST_UID} characters", param="uid")
        post = await run_in_threadpool(desk.assistant.post, uid)
        if post is None:  # the same words whether it was removed or never was: neither tells who is in here
            raise RequestError(404, "no such post may be shown", param="uid", code="post_not_shown")
        shown = dataclasses.asdict(post)
        if thread:
            sides = await run_in_threadpool(desk.assistant.thread, uid)
            for side, cards in zip(("before", "after"), sides, strict=True):
                shown[side] = [dataclasses.asdict(card) for card in cards]
        return JSONResponse(shown)

    @app.get("/lookup")
    async def lookup(name: str = "") -> Response:
        if not 0 < len(name) <= LONGEST_UID:
            raise RequestError(400, "name a post, an author or a handle: /lookup?name=@someone", param="name")
        try:
            return JSONResponse(await run_in_threadpool(look, name))
        except InputError as error:
            raise RequestError(400, f"{error.message}. {error.remedy}", param="name") from None

    @app.post("/feedback")
    async def feedback(request: Request) -> Response:
        judged = Judgement.parse(await _body(request))
        await run_in_threadpool(desk.assistant.judge, judged.opinion(desk.assistant.engine.name))
        return Response(status_code=204)


def _add_health(app: FastAPI, desk: Desk, meters: Meters) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        text = meters.text(waiting=desk.waiting, at_work=desk.at_work, engine_up=not desk.engine_away())
        return Response(text, media_type=CONTENT_TYPE)

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        if desk.engine_away():
            raise RequestError(503, "the engine is away", kind="server_error", code="engine_away")
        return JSONResponse({"status": "ok"})


def _add_page(app: FastAPI, desk: Desk, facts: Callable[[], Facts]) -> None:
    folder = resources.files("townsquare.serve").joinpath("page")
    environment = jinja2.Environment(autoescape=True)
    page, about_page = (
        environment.from_string(folder.joinpath(name).read_text(encoding="utf-8"))
        for name in ("index.html", "about.html")
    )
    files = {name: folder.joinpath(name).read_bytes() for name in PAGE_FILES}

    @app.get("/")
    async def index() -> Response:
        known = await run_in_threadpool(facts)
        return HTMLResponse(page.render(facts=known, model=desk.assistant.engine.name))

    @app.get("/about")
    async def about() -> Response:
        known = await run_in_threadpool(facts)
        return HTMLResponse(about_page.render(facts=known, model=desk.assistant.engine.name))

    @app.get("/page/{name}")
    async def page_file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=PAGE_FILES[name])


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> Response:
        return refusal(error)

    @app.exception_handler(TownsquareError)
    async def townsquare_error(_: Request, error: TownsquareError) -> Response:
        return refusal(_as_request_error(error), {"retry-after": "5"})

    @app.exception_handler(GoneError)
    async def gone(_: Request, __: GoneError) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        said = "there is no such address" if error.status_code == 404 else f"{request.method} is not for this address"
        return refusal(RequestError(error.status_code, said), dict(error.headers or {}))


def _as_request_error(error: TownsquareError) -> RequestError:
    """A mistake below, in OpenAI's shape: what is wrong and what to do, without places on this machine."""
    said = f"{error.message}. {error.remedy}" if error.remedy else error.message
    if isinstance(error, BusyError):
        return RequestError(429, said, kind="rate_limit_error", code="rate_limit_exceeded")
    code = "engine_away" if isinstance(error, EngineError) else "unavailable"
    return RequestError(503, said, kind="server_error", code=code)
