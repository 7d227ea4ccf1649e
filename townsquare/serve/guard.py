"""What stands around every request: whom the server answers, the headers it answers with, what it logs of a defect."""

from __future__ import annotations

import ipaddress
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from townsquare.serve.keys import KeyRefusedError, Keys
from townsquare.serve.meters import Meters
from townsquare.serve.openai_shapes import RequestError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""On every answer. No access-control header is ever sent: other origins' scripts read nothing here."""

log = logging.getLogger("townsquare.serve")


FREE = frozenset({"/", "/about", "/owner", "/healthz", "/readyz"})
"""What anybody may ask who reaches the server, beside the page's own files: it holds no post."""
SCOPES = {"/posts": "posts", "/lookup": "posts", "/metrics": "metrics", "/owner/now": "owner"}
"""The scope that an address needs; all others need `chat`."""
COUNTED = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/feedback"})
REFUSALS = {
    "missing": (401, "this server wants a key: send it as Authorization: Bearer KEY", "invalid_api_key"),
    "unknown": (401, "there is no such key here", "invalid_api_key"),
    "expired": (401, "this key has expired", "invalid_api_key"),
    "revoked": (401, "this key was revoked", "invalid_api_key"),
    "scope": (403, "this key is not for that", "insufficient_scope"),
    "requests": (429, "this key has asked as often as it may in a minute", "rate_limit_exceeded"),
    "tokens": (429, "this key has used its tokens of today", "insufficient_quota"),
}


class Guard:
    """Wraps the whole app.

    As long as no key was ever added the server answers only requests that name it by a loopback address: else a
    web page elsewhere could point a name of its own at 127.0.0.1 and read posts through a visitor's browser.
    Once one was, every request needs a key, which a browser sends for no other page.
    """

    def __init__(self, app: App, keys: Keys, meters: Meters) -> None:
        self.app, self.keys, self.meters = app, keys, meters

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, began = False, time.monotonic()

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.meters.request(_place(scope["path"]), message["status"], time.monotonic() - began)
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            if no := await run_in_threadpool(self._refused, scope):
                await no(scope, receive, guarded)
            else:
                await self.app(scope, receive, guarded)
        except Exception as error:
            _log_defect(error)
            if not started:
                await refusal(RequestError(500, "a defect of the server; its log says where", kind="server_error"))(
                    scope, receive, guarded
                )

    def _refused(self, scope: Message) -> JSONResponse | None:
        """Why this request is not answered, or None; the key that it came with is noted in its scope."""
        sent, path = dict(scope["headers"]), scope["path"]
        if not self.keys.required:
            host = _without_port(sent.get(b"host", b"").decode("latin-1"))
            told = "this server answers only to a loopback address"
            return None if is_loopback(host) else refusal(RequestError(421, told, code="wrong_host"))
        if path in FREE or path.startswith("/page/"):
            return None
        kind, _, text = sent.get(b"authorization", b"").decode("latin-1").partition(" ")
        asks = scope["method"] == "POST" and path.startswith("/v1/")
        try:
            key = self.keys.admit(
                text.strip() if kind.lower() == "bearer" else None, SCOPES.get(path, "chat"), time.time(), counts=asks
            )
        except KeyRefusedError as error:
            status, told, code = REFUSALS[error.why]
            headers = {"retry-after": str(error.retry_seconds)} if error.retry_seconds else {}
            headers |= {"www-authenticate": "Bearer"} if status == 401 else {}
            kind = "rate_limit_error" if status == 429 else "invalid_request_error"
            return refusal(RequestError(status, told, kind=kind, code=code), headers)
        scope.setdefault("state", {})["key"] = key.id
        return None


def _place(path: str) -> str:
    """An address as it is counted: never with what it names."""
    if path.startswith("/v1/models"):
        return "/v1/models"
    return path if path in FREE or path in SCOPES or path in COUNTED else "other"


def refusal(error: RequestError, headers: dict[str, str] | None = None) -> JSONResponse:
    """A RequestError as a response."""
    return JSONResponse(error.body, status_code=error.status, headers=headers)


def is_loopback(host: str) -> bool:
    """Whether `host` is localhost or a loopback address; other names are not looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _log_defect(error: Exception) -> None:
    """Where it happened, without the message: that may hold what people wrote."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = " > ".join(f"{frame.filename}:{frame.lineno}" for frame in frames)
    log.error("%s at %s", type(error).__name__, places)
