"""An upstream by URL, played by a small server that does as a real one does, well and badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from townsquare.serve.config import ServeConfig
from townsquare.serve.engines import EngineError, Piece, Sampling, Spent, open_engine
from townsquare.serve.engines import upstream as module
from townsquare.serve.engines.upstream import Upstream
from townsquare.square import Square

Play = list[tuple[int, bytes]]


class Server(ThreadingHTTPServer):
    """Plays its answers in turn, the last one again and again; `seen` keeps the requests."""

    plays: Play
    seen: list[tuple[str, dict[str, str], dict[str, Any]]]
    wait_seconds = 0.0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        time.sleep(self.server.wait_seconds)
        status, data = self.server.plays.pop(0) if len(self.server.plays) > 1 else self.server.plays[0]
        try:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client has gone

    def log_message(self, *args: object) -> None:
        pass


def event(text: str | None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
GOOD = b": hello\n\n" + event(None) + event("It is ") + event("open.") + USAGE
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    server = Server(("127.0.0.1", 0), Handler)
    server.plays, server.seen = [(200, GOOD + DONE)], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1/"


def said(server: Server, timeout_seconds: float = 10.0) -> str:
    pieces = Upstream(url(server), "big", timeout_seconds=timeout_seconds).stream([("user", "Open?")], Sampling())
    return "".join(piece for piece in pieces if isinstance(piece, str))


def test_it_streams_and_sends_what_was_asked(server: Server, square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.KEY_VARIABLE, "k")
    engine = open_engine(square, ServeConfig(engine=url(server), model="big"))
    sampling = Sampling(max_tokens=7, temperature=0.5, stop=("END",), seed=3)
    assert list(engine.stream([("user", "Open?<|im_end|>")], sampling)) == ["It is ", "open.", Spent(7, 3)]
    path, headers, body = server.seen[0]
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", "Bearer k")
    assert body == {
        "model": "big",
        "messages": [{"role": "user", "content": "Open?< |im_end|>"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["END"],
        "seed": 3,
    }
    engine.close()


def test_passing_trouble_is_tried_again(server: Server) -> None:
    server.plays = [(503, b"busy"), (429, b"slow down"), (200, GOOD + DONE)]
    assert said(server) == "It is open."
    assert len(server.seen) == 3


def test_lasting_trouble_ends_after_three_attempts(server: Server) -> None:
    server.plays = [(503, b"busy")]
    with pytest.raises(EngineError, match="503: busy") as caught:
        said(server)
    assert len(server.seen) == module.ATTEMPTS
    assert module.KEY_VARIABLE in str(caught.value)
    assert caught.value.exit_code == 9


def test_a_refusal_is_not_tried_again(server: Server) -> None:
    server.plays = [(401, b"no key")]
    with pytest.raises(EngineError, match="401"):
        said(server)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        b"data: {oops\n\n",
        b'data: {"error": {"message": "out of memory"}}\n\n',
        b'data: {"choices": [{}]}\n\n',
        b"",
        b"data: [1]\n\n",
    ],
)
def test_a_stream_that_breaks_off_or_is_none_is_an_error(server: Server, data: bytes) -> None:
    server.plays = [(200, data)]
    with pytest.raises(EngineError, match="broke off"):
        said(server)


def test_silence_is_an_error(server: Server) -> None:
    server.wait_seconds = 0.5
    with pytest.raises(EngineError, match="timed out"):
        said(server, timeout_seconds=0.05)


def test_nobody_there_is_an_error_that_names_the_place(server: Server) -> None:
    engine = Upstream("http://127.0.0.1:9/v1", "big", timeout_seconds=1.0)
    with pytest.raises(EngineError, match=r"cannot be reached.*127\.0\.0\.1:9"):
        list(engine.stream([("user", "x")], Sampling()))


def test_json_and_logprobs_are_asked_for_as_openai_does(server: Server) -> None:
    upstream = Upstream(url(server), "big", timeout_seconds=10)
    token = {"token": "no", "bytes": [110, 111], "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -0.1}]}
    choice = {"index": 0, "delta": {"content": "no"}, "logprobs": {"content": [token]}}
    server.plays = [(200, b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" + DONE)]
    pieces = list(upstream.stream([("user", "Hello?")], Sampling(schema='{"type":"object"}', logprobs=4)))
    assert pieces == ["no"]
    assert isinstance(pieces[0], Piece)
    assert pieces[0].tokens[0]["logprob"] == -0.1
    list(upstream.stream([("user", "Hello?")], Sampling(schema="{}")))
    first, second = (body for _, _, body in server.seen)
    assert first["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (first["logprobs"], first["top_logprobs"]) == (True, 4)
    assert (second["response_format"], "logprobs" in second) == ({"type": "json_object"}, False)


def test_vectors_of_the_upstream(server: Server) -> None:
    upstream = Upstream(url(server), "big", timeout_seconds=10)
    rows = [{"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1, 2]}]
    server.plays = [
        (200, json.dumps({"data": rows, "usage": {"prompt_tokens": 6}}).encode()),
        (200, json.dumps({"data": rows[:1]}).encode()),
        (200, b'{"data": [{"embedding": "?"}]}'),
        (404, b"no such model"),
    ]
    assert upstream.embed("small", ["a", "b"]) == ([[1.0, 2.0], [3.0, 4.5]], 6)
    path, _, body = server.seen[0]
    assert (path, body) == ("/v1/embeddings", {"model": "small", "input": ["a", "b"]})
    for said in ("gave 1 vectors for 2 texts", "gave no vectors", "404: no such model"):
        with pytest.raises(EngineError, match=said):
            upstream.embed("small", ["a", "b"])
