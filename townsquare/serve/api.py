"""The web application: OpenAI's API, posts' cards, and the page, all from one desk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import resources
from typing import Any

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from townsquare.consent.grants import Grant
from townsquare.errors import InputError, TownsquareError
from townsquare.serve.desk import Desk
from townsquare.serve.guard import Guard, refusal
from townsquare.serve.keys import Keys
from townsquare.serve.meters import CONTENT_TYPE, Meters
from townsquare.serve.openai_shapes import Judgement, RequestError
from townsquare.serve.tally import Tally
from townsquare.serve.v1 import GoneError, Till, add_v1, as_request_error, body_of

LONGEST_UID = 2048
PAGE_FILES = {
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript",
    "view.js": "text/javascript",
    "server.js": "text/javascript",
    "keep.js": "text/javascript",
    "about.js": "text/javascript",
    "owner.js": "text/javascript",
}

Look = Callable[[str], dict[str, Any]]
Overview = Callable[[], dict[str, Any]]


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


@dataclasses.dataclass(frozen=True)
class Office:
    """What the server is told by stages after it, and what it tells the ledger."""

    look: Look
    """Where a post's or somebody's posts stand, in figures and ids."""
    overview: Overview
    """What the owner's page shows (report.owner)."""
    tally: Tally


def make_app(desk: Desk, facts: Callable[[], Facts], keys: Keys, office: Office) -> FastAPI:
    """The application. `facts` is asked anew for every page. The caller closes the desk and the keys."""
    meters = Meters()
    app = FastAPI(title="townsquare", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, keys=keys, meters=meters)
    _handle_errors(app)
    add_v1(app, desk, Till(keys, meters, office.tally))
    _add_posts(app, desk, office.look)
    _add_health(app, desk, meters)
    _add_page(app, desk, facts)
    _add_owner(app, office.overview)
    return app


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
        judged = Judgement.parse(await body_of(request))
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


def _add_owner(app: FastAPI, overview: Overview) -> None:
    """The owner's page: an empty frame, which anybody may load, and what stands in it, which wants the scope."""
    folder = resources.files("townsquare.serve").joinpath("page")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"hours": _hours, "usd": _usd, "lasting": _lasting, "times": _times}
    frame = folder.joinpath("owner.html").read_text(encoding="utf-8")
    inside = environment.from_string(folder.joinpath("owner_now.html").read_text(encoding="utf-8"))

    @app.get("/owner")
    async def owner() -> Response:
        return HTMLResponse(frame)

    @app.get("/owner/now")
    async def now() -> Response:
        return HTMLResponse(inside.render(await run_in_threadpool(overview)))


def _hours(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:,.1f}" if abs(value) >= 0.1 else "< 0.1"


def _usd(value: float) -> str:
    return f"${value:,.0f}"


def _lasting(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.1f} s"


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}" if count else ""


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> Response:
        return refusal(error)

    @app.exception_handler(TownsquareError)
    async def townsquare_error(_: Request, error: TownsquareError) -> Response:
        return refusal(as_request_error(error), {"retry-after": "5"})

    @app.exception_handler(GoneError)
    async def gone(_: Request, __: GoneError) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        said = "there is no such address" if error.status_code == 404 else f"{request.method} is not for this address"
        return refusal(RequestError(error.status_code, said), dict(error.headers or {}))
