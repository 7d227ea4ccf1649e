"""`townsquare curate --review`: the page, on this machine only, until stopped."""

from __future__ import annotations

import datetime as dt
import secrets
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlencode

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from townsquare import receipts
from townsquare.curate import overrules, tables
from townsquare.curate.overrules import Overrule
from townsquare.errors import InputError, TownsquareError
from townsquare.review import samples
from townsquare.review.samples import Asked
from townsquare.serve.guard import HEADERS, is_loopback
from townsquare.serve.server import Server, listen
from townsquare.square import Square

MOST_BODY_BYTES = 1 << 16
OWN_FORMS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
}


def review(square: Square, port: int, by: str) -> None:
    """Show the page until Ctrl-C or SIGTERM. `by` is who overrules. Raises StaleError when there is no corpus."""
    tables.version(square)
    with listen("127.0.0.1", port) as listening:
        print(
            f"Look at what was left out at http://127.0.0.1:{listening.getsockname()[1]}/. Ctrl-C stops it.", flush=True
        )
        Server(make_app(square, by)).run(sockets=[listening])


def make_app(square: Square, by: str) -> FastAPI:
    """The application. Its forms carry a token of this process, for a page elsewhere could send one here."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    desk = _Desk(square, by, secrets.token_urlsafe(16))

    @app.middleware("http")
    async def guarded(request: Request, go_on: Any) -> Response:
        host = request.headers.get("host", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        answer = await go_on(request) if is_loopback(name) else Response("this page is for this machine only", 421)
        answer.headers.update(HEADERS | OWN_FORMS)
        return answer

    @app.get("/")
    async def look(rule: str = "", reason: str = "", q: str = "", page: int = 1) -> Response:
        return await run_in_threadpool(desk.look, Asked(rule, reason, q.strip(), max(page, 1)))

    @app.get("/overrules")
    async def history() -> Response:
        return await run_in_threadpool(desk.history)

    @app.post("/overrules")
    async def add(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY_BYTES:
                return Response("too much", 413)
        form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        return await run_in_threadpool(desk.add, form)

    @app.get("/review.css")
    async def style() -> Response:
        css = resources.files("townsquare.review").joinpath("review.css").read_text(encoding="utf-8")
        return Response(css, media_type="text/css")

    return app


class _Desk:
    """Answers the requests."""

    def __init__(self, square: Square, by: str, token: str) -> None:
        self.square, self.by, self.token = square, by, token
        self.environment = jinja2.Environment(
            loader=jinja2.PackageLoader("townsquare.review", ""), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self.environment.globals["link"] = lambda **asked: "/?" + urlencode({k: v for k, v in asked.items() if v})

    def look(self, asked: Asked) -> Response:
        rules = samples.reasons(self.square)
        if not asked.rule and rules:
            asked = Asked(rules[0]["rule"], "", asked.search)
        found = samples.page(self.square, asked)
        judges = asked.rule in overrules.names()
        return self._page("review.html", asked=asked, rules=rules, found=found, judges=judges)

    def history(self, error: str = "", status: int = 200) -> Response:
        keys, said = overrules.standing(self.square), overrules.read(self.square)
        last = {one.key: number for number, one in enumerate(said)}
        rows = [(one, one.key in keys and last[one.key] == number) for number, one in enumerate(said)]
        return self._page("overrules.html", status, rows=rows[::-1], error=error)

    def add(self, form: dict[str, str]) -> Response:
        """One more overrule, or one taken back; then the page that the form came from."""
        if not secrets.compare_digest(form.get("token", "").encode(), self.token.encode()):
            return self.history("That form is not from this page, or from before it was started anew.", 403)
        try:
            overrules.add(self.square, self._overrule(form))
        except TownsquareError as error:
            return self.history(str(error), 400)
        back = form.get("back", "")
        return RedirectResponse(back if back.startswith("/?") else "/overrules", 303)

    def _overrule(self, form: dict[str, str]) -> Overrule:
        post, author, keep = form.get("post"), form.get("author"), form.get("keep") != "no"
        if keep and form.get("whose") == "author":
            author = samples.author_of(self.square, post or "")
            if author is None:
                raise InputError("nobody knows who wrote that post", remedy="Overrule the rule for the post alone.")
            post = None
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return Overrule(now, self.by, form.get("rule", ""), post, author, form.get("why", "").strip(), keep)

    def _page(self, name: str, status: int = 200, **shown: Any) -> Response:
        shown |= {"token": self.token, "by": self.by, "waiting": self._waiting(), "longest": overrules.LONGEST_WHY}
        return HTMLResponse(self.environment.get_template(name).render(**shown), status)

    def _waiting(self) -> bool:
        """Whether overrules were given, or taken back, since the corpus was made."""
        receipt = receipts.read(self.square, "curate")
        return receipt is not None and overrules.as_input(self.square) not in receipt.inputs
