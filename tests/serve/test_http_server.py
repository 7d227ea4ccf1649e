"""Where the server listens, what it says of a square, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from townsquare.consent.grants import Grant, add_grant, revoke_grant
from townsquare.errors import ConfigError
from townsquare.serve.server import examples, facts, listen
from townsquare.square import Square
from townsquare.town.config import TownConfig
from townsquare.town.run import run as build
from townsquare.town.tables import read_questions


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", "", "127.0.0.1.example.com"])
def test_refuses_addresses_that_others_reach(host: str) -> None:
    with pytest.raises(ConfigError, match="without keys") as raised:
        listen(host, 0)
    assert "127.0.0.1" in (raised.value.remedy or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_listens_on_loopback(host: str) -> None:
    if host == "::1" and not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback")
    with listen(host, 0) as listening:
        assert listening.getsockname()[0] in ("127.0.0.1", "::1")


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: the port is taken"):
            listen("127.0.0.1", port)


def test_the_page_names_who_allows_display_today(square: Square) -> None:
    def grant(name: str, grantor: str, *purposes: str, ends: str | None = None) -> None:
        add_grant(square, Grant(name, grantor, "us", purposes, sources=("*",), ends=ends))

    grant("a", "Forum Ltd", "retrieve", "display")
    grant("b", "Forum Ltd", "display")
    grant("c", "Trainers Inc", "train")
    grant("d", "Past Ltd", "display", ends="2020-01-01")
    grant("e", "Gone Ltd", "display")
    revoke_grant(square, "e")
    assert facts(square, ()).grantors == ("Forum Ltd",)


def test_examples_are_questions_that_a_town_answers(square: Square) -> None:
    assert examples(square) == ()
    build(square, TownConfig(posts=400))
    asked = examples(square)
    answerable = {question.question for question in read_questions(square) if question.answerable}
    assert len(asked) == len(set(asked)) == 3
    assert answerable >= set(asked)


PROGRAM = """
import sys, time
from tests.serve.serving import FakeAssistant
from townsquare.serve.assistant import Assistant
from townsquare.serve.config import ServeConfig
from townsquare.serve.server import serve
from townsquare.square import Square

class Slow(FakeAssistant):
    def close(self):
        print("closed", flush=True)

slow = Slow()
def pause(number):
    if number == 0:
        print("answering", flush=True)
    time.sleep(0.05)
slow.pause = pause
Assistant.open = classmethod(lambda cls, square, config: slow)
serve(Square.create(sys.argv[1]), ServeConfig(port=0), dict, dict)
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_when_told_after_the_answer_under_way(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "square")],
        stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("chat answers at http://127.0.0.1:")
        port = int(line.split("/")[2].rpartition(":")[2])
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "Hi?"}], "stream": True}).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            assert process.stdout.readline() == "answering\n"
            process.send_signal(number)
            received = b""
            while part := connection.recv(1 << 16):
                received += part
        assert b"data: [DONE]" in received
        assert process.stdout.read() == "closed\nended\n"
        assert process.wait() == 0
