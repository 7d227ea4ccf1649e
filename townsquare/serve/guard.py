"""What stands around every request: whom the server answers, the headers it answers with, what it logs of a defect."""

from __future__ import annotations

import ipaddress
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

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


class Guard:
    """Wraps the whole app.

    The server has no keys: it answers only requests that name it by a loopback address. Otherwise a web page
    elsewhere could point a name of its own at 127.0.0.1 and read posts through a visitor's browser.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if not is_loopback(_without_port(host)):
            await refusal(RequestError(421, "this server answers only to a loopback address", code="wrong_host"))(
                scope, receive, guarded
            )
            return
        try:
            await self.app(scope, receive, guarded)
        except Exception as error:
            _log_defect(error)
            if not started:
                await refusal(RequestError(500, "a defect of the server; its log says where", kind="server_error"))(
                    scope, receive, guarded
                )


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
