"""`townsquare serve`: the page and the API, until stopped."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from townsquare import receipts
from townsquare.consent.gate import today
from townsquare.consent.grants import read_grants
from townsquare.errors import ConfigError, StaleError
from townsquare.serve.api import Facts, Look, Office, Overview, make_app
from townsquare.serve.config import ServeConfig
from townsquare.serve.desk import Desk
from townsquare.serve.guard import is_loopback
from townsquare.serve.keys import Keys
from townsquare.serve.tally import Tally
from townsquare.square import Square
from townsquare.town.tables import read_questions

EXAMPLES = 3
GRACE_SECONDS = 30  # answers under way may end before they are cut off


def serve(square: Square, config: ServeConfig, look: Look, overview: Overview) -> None:
    """Answer over HTTP until Ctrl-C or SIGTERM; answers under way then end. Prints where it listens.

    `look` tells where a post or an author stands, in figures and ids; `overview` what the owner's page shows.

    Raises ConfigError for an address that is taken, or that others reach while there are no keys, and what
    opening the assistant raises.
    """
    from townsquare.serve.assistant import Assistant

    tally = Tally(square)
    with (
        contextlib.closing(Keys.open(square)) as keys,
        listen(config.host, config.port, keyed=keys.required) as listening,
        contextlib.closing(Assistant.open(square, config)) as assistant,
        contextlib.closing(Desk(assistant)) as desk,
        tally.recording(),
    ):
        host, port = listening.getsockname()[:2]
        where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(
            f"{assistant.engine.name} answers at {where}/ and, for programs, {where}/v1. Ctrl-C stops it.", flush=True
        )
        questions = examples(square)
        app = make_app(desk, lambda: facts(square, questions), keys, Office(look, overview, tally))
        Server(app).run(sockets=[listening])


def listen(host: str, port: int, *, keyed: bool = False) -> socket.socket:
    """A socket on a loopback address, or, where every request needs a key (`keyed`), on any address of this machine.

    Port 0 takes a free one. Raises ConfigError.
    """
    if not keyed and not is_loopback(host):
        raise ConfigError(
            f"host cannot be {host!r}: without keys anyone who reaches it could read posts",
            remedy="Leave it at 127.0.0.1, or first add a key: townsquare keys add NAME. For other machines also put "
            "a gateway that speaks TLS in front of it, since a key can be read on its way.",
        )
    address = "127.0.0.1" if host == "localhost" else host
    try:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as error:
        why = "the port is taken" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {why}", remedy="Give another --port; 0 takes a free one."
        ) from error


def facts(square: Square, questions: tuple[str, ...]) -> Facts:
    """What the page says of the square, as of now."""
    grants = [grant for grant in read_grants(square) if grant.live(today()) and "display" in grant.purposes]
    receipt = receipts.read(square, "index")
    posts = receipt.results.get("revised", {}).get("kept", receipt.counts["kept"]) if receipt else None
    return Facts(tuple(grants), questions, posts, receipt.results.get("newest") if receipt else None)


def examples(square: Square) -> tuple[str, ...]:
    """Questions that a town's posts answer, of different kinds; none where the posts are no town's."""
    try:
        questions = read_questions(square)
    except StaleError:
        return ()
    kinds = {question.kind: question.question for question in questions if question.answerable}
    return tuple(kinds.values())[:EXAMPLES]


class Server(uvicorn.Server):
    """uvicorn with our settings: no access log, for addresses name posts; nothing but HTTP."""

    def __init__(self, app: FastAPI) -> None:
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(settings)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was heeded is not raised again: what is open still has to be closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heeded = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
