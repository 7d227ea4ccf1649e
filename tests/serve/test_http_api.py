"""The API as clients meet it: OpenAI's own client, and a raw socket, against a server that listens."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.serve.serving import ANSWER, HOSTILE, LIBRARY, MODEL, NOTHING, FakeAssistant, raw, serving, unchunked
from townsquare.errors import StaleError
from townsquare.serve import desk, v1, vectors
from townsquare.serve.engines import EngineError, Sampling

QUESTION = [{"role": "user", "content": "When does the library open?"}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeAssistant, str]]:
    """One server for the whole file: starting and stopping one takes longer than most tests."""
    assistant = FakeAssistant()
    with serving(assistant) as address:
        yield assistant, address


@pytest.fixture
def assistant(served: tuple[FakeAssistant, str]) -> FakeAssistant:
    assistant, _ = served
    assistant.__init__()  # type: ignore[misc]
    return assistant


@pytest.fixture
def address(assistant: FakeAssistant, served: tuple[FakeAssistant, str]) -> str:
    return served[1]


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none needed", max_retries=0) as client:
        yield client


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as http:
        yield http


def test_models_as_openai_lists_them(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed == [MODEL, *([vectors.NAME] if vectors.installed() else [])]
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("gpt-4o")
    assert raised.value.code == "model_not_found"


def test_plain_answer_carries_its_citations(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    reply = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_completion_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop="END"
    )
    message = reply.choices[0].message
    assert message.content == ANSWER.text
    assert message.citations == json.loads(json.dumps(ANSWER.to_json()))["citations"]
    assert (message.as_of, message.found) == ("2026-03-12", True)
    assert [sentence["supported"] for sentence in message.sentences] == [True, True, False]
    assert reply.usage is None  # nobody counted tokens, so no figure is made up
    assert assistant.asked == [
        ([("user", QUESTION[0]["content"])], Sampling(7, temperature=0.5, top_p=0.9, stop=("END",), seed=3))
    ]


def test_streamed_answer_ends_with_its_citations(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == ANSWER.text
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    last = deltas[-1]
    assert [citation["uid"] for citation in last.citations] == [citation.uid for citation in ANSWER.citations]
    assert (last.checked, last.as_of, last.found) == (ANSWER.text, "2026-03-12", True)


def test_nothing_found_is_said(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    assistant.answer = NOTHING
    message = client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message
    assert (message.found, message.citations) == (False, [])


def test_parts_and_developer_turns_become_plain_turns(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
        ],
        tools=openai.omit,
        extra_body={"n": 1, "tools": [], "user": "someone", "stream_options": None},
    )
    assert assistant.asked[0] == ([("system", "Be brief."), ("user", "One\ntwo")], Sampling())


USER = {"role": "user", "content": "Hello?"}


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": "gpt-4o"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", None),
        ({"model": 7}, 400, "model", None),
        ({"messages": []}, 400, "messages", None),
        ({"messages": "Hello?"}, 400, "messages", None),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content", None),
        ({"messages": [USER, {"role": "user", "content": 5}]}, 400, "messages.1.content", None),
        ({"messages": [{"role": "wizard", "content": "Hello?"}]}, 400, "messages.0.role", None),
        ({"messages": [{"role": "user", "content": " \n"}]}, 400, "messages", None),
        ({"messages": [USER, {"role": "assistant", "content": "Hi."}]}, 400, "messages", None),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages.0.content.0.type", None),
        ({"max_tokens": 0}, 400, "max_tokens", None),
        ({"max_tokens": "5"}, 400, "max_tokens", None),
        ({"max_tokens": True}, 400, "max_tokens", None),
        ({"temperature": 3}, 400, "temperature", None),
        ({"top_p": 0}, 400, "top_p", None),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop", None),
        ({"seed": 1.5}, 400, "seed", None),
        ({"stream": "yes"}, 400, "stream", None),
        ({"n": 9}, 400, "n", None),
        ({"n": 0}, 400, "n", None),
        ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "poem"}}, 400, "response_format.type", None),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema", None),
    ],
)
def test_requests_that_cannot_be_answered(
    http: httpx.Client, assistant: FakeAssistant, change: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    reply = http.post(CHAT, json={"model": MODEL, "messages": [USER], **change})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}
    assert not assistant.asked


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"model": "chat", "messages": [', b"\xff\xfe", b"[" * 200_000, b'{"a": "\\ud800"}'],
    ids=["empty", "brace", "list", "null", "half", "bytes", "deep", "surrogate"],
)
def test_bodies_that_are_no_request(http: httpx.Client, body: bytes) -> None:
    reply = http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_errors_do_not_repeat_what_was_written(http: httpx.Client) -> None:
    reply = http.post(CHAT, json={"model": MODEL, "messages": [{"role": "user", "content": {"secret": "my diary"}}]})
    assert "diary" not in reply.text


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    long = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "a" * v1.MOST_BODY_BYTES}]}).encode()
    declared = http.post(CHAT, content=long, headers={"content-type": "application/json"})
    chunked = http.post(CHAT, content=iter([long]), headers={"content-type": "application/json"})
    for reply in (declared, chunked):
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


def test_a_body_that_never_ends_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v1, "MOST_BODY_SECONDS", 0.05)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
    with raw(address) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/page/../api.py", 404),
        ("GET", "/page/index.html", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_addresses_that_are_not_there(http: httpx.Client, method: str, path: str, status: int) -> None:
    reply = http.request(method, path)
    assert (reply.status_code, reply.json()["error"]["type"]) == (status, "invalid_request_error")


def test_an_engine_that_is_away_is_503_until_it_answers(
    http: httpx.Client, client: openai.OpenAI, assistant: FakeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "AWAY_SECONDS", 1e9)
    assistant.error = EngineError("the upstream is away", place="/home/someone", remedy="Start it.")
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(model=MODEL, messages=QUESTION, stream=stream)
        assert (raised.value.status_code, raised.value.code) == (503, "engine_away")
        assert raised.value.body["message"] == "the upstream is away. Start it."  # and not where
    assert http.get("/readyz").status_code == 503
    assert http.get("/healthz").status_code == 200
    assistant.error = None
    client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert http.get("/readyz").status_code == 200


def test_an_error_amid_a_stream_reaches_the_client(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    assistant.error, assistant.error_after = EngineError("the upstream fell silent"), 3
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    assert [next(stream).choices[0].delta.content for _ in range(3)] == ["The", " library", " on"]
    with pytest.raises(openai.APIError, match="fell silent"):
        next(stream)


def test_an_index_that_is_stale_is_503(http: httpx.Client, assistant: FakeAssistant) -> None:
    assistant.error = StaleError("there is no index yet", remedy="Run: townsquare index")
    reply = http.post(CHAT, json={"model": MODEL, "messages": QUESTION})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "unavailable")


def test_a_defect_is_told_without_content(
    http: httpx.Client, assistant: FakeAssistant, caplog: pytest.LogCaptureFixture
) -> None:
    assistant.error = ValueError("my diary says")
    with caplog.at_level(logging.DEBUG):
        reply = http.post(CHAT, json={"model": MODEL, "messages": QUESTION})
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "server_error")
    assert "ValueError at " in caplog.text
    assert "serving.py" in caplog.text
    assert "diary" not in caplog.text + reply.text


def test_nothing_that_was_asked_is_logged(http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("httpx").disabled = True  # the client's own log is its own affair
        http.post(CHAT, json={"model": MODEL, "messages": [{"role": "user", "content": "about my diary"}]})
        http.get("/posts", params={"uid": LIBRARY.uid})
        logging.getLogger("httpx").disabled = False
    served = [record for record in caplog.records if record.name.startswith(("uvicorn", "townsquare", "fastapi"))]
    assert not [record for record in served if "diary" in record.getMessage() or "posts" in record.getMessage()]


def test_requests_at_once_are_answered_one_after_another(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    def ask(number: int) -> str | None:
        if number % 2:
            return client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content
        chunks = client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(ask, range(24)))
    assert answers == [ANSWER.text] * 24
    assert assistant.most_at_work == 1


def test_a_full_desk_says_when_to_come_back(
    address: str, http: httpx.Client, assistant: FakeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MOST_WAITING", 1)
    started, go_on = threading.Event(), threading.Event()

    def pause(_: int) -> None:
        started.set()
        go_on.wait()

    assistant.pause = pause
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(httpx.post, address + CHAT, json={"model": MODEL, "messages": QUESTION})
        started.wait()
        second = http.post(CHAT, json={"model": MODEL, "messages": QUESTION})
        go_on.set()
        assert first.result().status_code == 200
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(second.headers["retry-after"]) > 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("at_piece", [0, 4])
def test_a_client_that_leaves_stops_the_engine(
    address: str, assistant: FakeAssistant, stream: bool, at_piece: int
) -> None:
    reached, go_on, pieces = threading.Event(), threading.Event(), []

    def pause(number: int) -> None:
        pieces.append(number)
        if number == at_piece:
            reached.set()
            go_on.wait()

    assistant.pause = pause
    assistant.answer = ANSWER.__class__("word " * 10_000, (), (), None, True, MODEL)
    body = json.dumps({"model": MODEL, "messages": QUESTION, "stream": stream}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with raw(address) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        reached.wait()
    go_on.set()
    assistant.ended.acquire()
    assert len(pieces) < 10_000


def test_a_slow_reader_does_not_hold_the_engine(address: str, http: httpx.Client, assistant: FakeAssistant) -> None:
    """The first client reads nothing of a stream that is longer than every buffer between; the second is answered."""
    assistant.answer = ANSWER.__class__("word " * 40_000, (), (), None, True, MODEL)
    body = json.dumps({"model": MODEL, "messages": QUESTION, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with raw(address) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assistant.ended.acquire()
        assistant.answer = ANSWER
        assert http.post(CHAT, json={"model": MODEL, "messages": QUESTION}).status_code == 200


def test_the_bytes_of_a_stream(address: str) -> None:
    body = json.dumps({"model": MODEL, "messages": QUESTION, "stream": True}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with raw(address) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    headers, _, rest = received.partition(b"\r\n\r\n")
    assert headers.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in headers
    assert b"transfer-encoding: chunked" in headers.lower()
    events = unchunked(rest).decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_posts_are_shown_or_not_shown(http: httpx.Client, assistant: FakeAssistant) -> None:
    card = http.get("/posts", params={"uid": LIBRARY.uid})
    assert card.json() == json.loads(json.dumps(ANSWER.to_json()))["citations"][0]
    removed = assistant.posts.pop(LIBRARY.uid)
    gone, never = (http.get("/posts", params={"uid": uid}) for uid in (removed.uid, "x:999"))
    assert gone.status_code == 404
    assert gone.content == never.content  # nothing tells a removed post from one that never was
    assert http.get("/posts").status_code == 400
    assert http.get("/posts", params={"uid": "x" * 3000}).status_code == 400


@pytest.mark.parametrize("path", ["/", "/v1/models", "/posts?uid=x:1", "/nothing", "/page/page.js"])
def test_headers_are_strict_everywhere(http: httpx.Client, path: str) -> None:
    headers = http.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


def test_scripts_of_other_sites_are_kept_out(http: httpx.Client, assistant: FakeAssistant) -> None:
    asked = http.options(CHAT, headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"})
    assert asked.status_code == 405  # a browser's preflight fails
    body = json.dumps({"model": MODEL, "messages": QUESTION})
    simple = http.post(CHAT, content=body, headers={"content-type": "text/plain"})  # what needs no preflight
    assert (simple.status_code, simple.json()["error"]["code"]) == (415, "wrong_content_type")
    assert not assistant.asked


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:80", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("127.9.9.9", 200),
     ("elsewhere.example", 421), ("127.0.0.1.elsewhere.example", 421), ("10.0.0.1", 421), ("", 421), ("[", 421)],
)  # fmt: skip
def test_only_a_loopback_name_is_answered(http: httpx.Client, host: str, status: int) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == status


def test_hostile_text_is_only_text_in_json(http: httpx.Client, assistant: FakeAssistant) -> None:
    assistant.posts["x:666"] = LIBRARY.__class__(1, "x:666", HOSTILE, "x:6", None, HOSTILE, None, "x")
    reply = http.get("/posts", params={"uid": "x:666"})
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["text"] == HOSTILE
