"""Keys: stored hashed, limited, revoked at once; by SQLite, and by PostgreSQL where it and a driver are here."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest
from typer.testing import CliRunner

from tests.serve.serving import ANSWER, LIBRARY, MODEL, FakeAssistant, serving
from townsquare.cli import app
from townsquare.errors import ConfigError, InputError
from townsquare.serve.config import Limits
from townsquare.serve.engines import Spent
from townsquare.serve.keys import PREFIX, URL_VARIABLE, KeyRefusedError, Keys
from townsquare.serve.server import listen
from townsquare.square import Square

NOON = 1_800_000_000 // 86_400 * 86_400 + 43_200
CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "When does the library open?"}]}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of this test's own, on a Unix socket alone."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs or importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL's server, or psycopg, is not here")
    folder = tmp_path_factory.mktemp("postgres")
    as_user = []
    if shutil.which("runuser") and not os.getuid():
        shutil.chown(folder, "nobody")
        for parent in folder.parents[:3]:
            parent.chmod(0o755)
        as_user = ["runuser", "-u", "nobody", "--"]
    pg_ctl = str(programs[-1].with_name("pg_ctl"))
    data = str(folder / "data")
    subprocess.run(
        [*as_user, str(programs[-1]), "-D", data, "-U", "town", "-A", "trust"], check=True, capture_output=True
    )
    options = f"-c listen_addresses='' -k {folder}"
    subprocess.run(
        [*as_user, pg_ctl, "-D", data, "-o", options, "-w", "-l", f"{folder}/log", "start"],
        check=True,
        capture_output=True,
    )
    yield f"postgresql+psycopg://town@/postgres?host={folder}"
    subprocess.run([*as_user, pg_ctl, "-D", data, "-m", "immediate", "stop"], check=True, capture_output=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def keys(request: pytest.FixtureRequest, square: Square, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    if request.param == "postgresql":
        monkeypatch.setenv(URL_VARIABLE, request.getfixturevalue("postgres"))
    with closing(Keys.open(square)) as keys:
        yield keys


def refused(keys: Keys, text: str | None, scope: str = "chat", now: float = NOON, *, counts: bool = True) -> str:
    with pytest.raises(KeyRefusedError) as raised:
        keys.admit(text, scope, now, counts=counts)
    return raised.value.why


def test_a_key_opens_what_it_is_for_until_it_ends(keys: Keys) -> None:
    key, text = keys.add("site", Limits(days=2), NOON)
    assert keys.required
    assert text.startswith(PREFIX)
    assert keys.admit(text, "chat", NOON, counts=True) == key
    assert refused(keys, text, "metrics") == "scope"
    assert refused(keys, text + "x") == refused(keys, "\ud800") == "unknown"
    assert refused(keys, None) == refused(keys, "") == "missing"
    keys.admit(text, "posts", NOON + 2 * 86_400 - 1, counts=False)
    assert refused(keys, text, now=NOON + 2 * 86_400) == "expired"
    keys.revoke(key.id, NOON)
    keys.revoke(key.id, NOON + 5)  # twice is once
    assert refused(keys, text) == "revoked"
    assert [row.revoked_at for row in keys.all() if row.id == key.id] == [NOON]
    assert keys.required  # though none is left: else revoking the last would open the door
    with pytest.raises(InputError, match="no key"):
        keys.revoke("nobody", NOON)


def test_limits_hold_by_the_minute_and_by_the_day(keys: Keys) -> None:
    key, text = keys.add("site", Limits(requests_per_minute=2, tokens_per_day=100), NOON)
    for _ in range(2):
        keys.admit(text, "chat", NOON + 7, counts=True)
    keys.admit(text, "posts", NOON + 7, counts=False)  # opening a post is no question
    with pytest.raises(KeyRefusedError) as raised:
        keys.admit(text, "chat", NOON + 7, counts=True)
    assert (raised.value.why, raised.value.retry_seconds) == ("requests", 53)
    keys.admit(text, "chat", NOON + 60, counts=True)
    keys.charge(key.id, 60, NOON + 61)
    keys.admit(text, "chat", NOON + 120, counts=True)
    keys.charge(key.id, 40, NOON + 121)
    with pytest.raises(KeyRefusedError) as raised:
        keys.admit(text, "chat", NOON + 180, counts=True)
    assert (raised.value.why, raised.value.retry_seconds) == ("tokens", 43_200 - 180)
    keys.admit(text, "chat", NOON + 43_200, counts=True)  # the next day
    assert [used[1:] for used in keys.usage(key.id)] == [(4, 100), (1, 0)]
    other, _ = keys.add("other", Limits(), NOON)
    assert keys.usage(other.id) == []


def test_many_at_once_are_counted_exactly(keys: Keys) -> None:
    key, text = keys.add("site", Limits(requests_per_minute=10), NOON)
    let_in = []

    def ask(_: int) -> None:
        try:
            let_in.append(keys.admit(text, "chat", NOON, counts=True))
        except KeyRefusedError:
            return
        keys.charge(key.id, 3, NOON)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(40)))
    assert len(let_in) == 10
    assert [used[1:] for used in keys.usage(key.id)] == [(10, 30)]


def test_a_key_is_stored_nowhere(square: Square) -> None:
    with closing(Keys.open(square)) as keys:
        assert not keys.required
        assert not (square.root / "keys").exists()  # nothing is made before the first
        _, text = keys.add("site", Limits(), NOON)
        keys.admit(text, "chat", NOON, counts=True)
        folder = square.root / "keys"
        assert folder.stat().st_mode & 0o077 == 0
        held = b"".join(path.read_bytes() for path in folder.iterdir())
    assert text.encode() not in held
    assert text.removeprefix(PREFIX).encode() not in held


@pytest.mark.parametrize(
    "values", [{"scopes": ()}, {"scopes": ("all",)}, {"days": 0}, {"requests_per_minute": 0}, {"tokens_per_day": -1}]
)
def test_limits_that_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Limits(**values)  # type: ignore[arg-type]


def test_a_database_that_cannot_be_is_named(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "nonsense")
    with pytest.raises(ConfigError, match=URL_VARIABLE):
        Keys.open(square)


# Over HTTP


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def guarded(square: Square) -> Iterator[tuple[FakeAssistant, Keys, httpx.Client]]:
    assistant = FakeAssistant()
    with (
        closing(Keys.open(square)) as keys,
        serving(assistant, keys=keys) as address,
        httpx.Client(base_url=address) as http,
    ):
        yield assistant, keys, http


def now() -> float:
    return time.time()


def test_every_address_wants_a_key_from_the_first_on(guarded: tuple[FakeAssistant, Keys, httpx.Client]) -> None:
    assistant, keys, http = guarded
    assert http.post(CHAT, json=BODY).status_code == 200  # while there is none, on loopback
    key, text = keys.add("site", Limits(), now())
    asked = [("GET", path) for path in ("/v1/models", f"/posts?uid={LIBRARY.uid}", "/metrics", "/nothing")]
    for method, path in [*asked, ("POST", CHAT), ("POST", "/v1//chat/completions")]:
        reply = http.request(method, path, json=BODY if method == "POST" else None)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key"), path
        assert reply.headers["www-authenticate"] == "Bearer"
    assert {http.get(path).status_code for path in ("/", "/healthz", "/readyz", "/page/page.js")} == {200}
    with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key=text, max_retries=0) as client:
        assert client.chat.completions.create(**BODY).choices[0].message.content == ANSWER.text
        keys.revoke(key.id, now())
        with pytest.raises(openai.AuthenticationError, match="revoked"):
            client.models.list()
    assert len(assistant.asked) == 2


def test_with_a_key_any_name_of_the_server_will_do(guarded: tuple[FakeAssistant, Keys, httpx.Client]) -> None:
    _, keys, http = guarded
    _, text = keys.add("site", Limits(), now())
    reply = http.get("/v1/models", headers={**bearer(text), "Host": "assistant.example"})
    assert reply.status_code == 200


def test_scopes_and_limits_over_http(guarded: tuple[FakeAssistant, Keys, httpx.Client]) -> None:
    assistant, keys, http = guarded
    _, reading = keys.add("reader", Limits(scopes=("posts",)), now())
    assert http.get("/posts", params={"uid": LIBRARY.uid}, headers=bearer(reading)).status_code == 200
    reply = http.post(CHAT, json=BODY, headers=bearer(reading))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_scope")
    assistant.answer = ANSWER.__class__(**{**vars(ANSWER), "spent": Spent(30, 12)})
    key, text = keys.add("site", Limits(tokens_per_day=50), now())
    usage = http.post(CHAT, json=BODY, headers=bearer(text)).json()["usage"]
    assert usage == {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    stream = http.post(
        CHAT, json={**BODY, "stream": True, "stream_options": {"include_usage": True}}, headers=bearer(text)
    ).text
    assert json.loads(stream.split("\n\n")[-3].removeprefix("data: "))["usage"]["total_tokens"] == 42
    reply = http.post(CHAT, json=BODY, headers=bearer(text))
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "insufficient_quota")
    assert 0 < int(reply.headers["retry-after"]) <= 86_400
    assert [used[1:] for used in keys.usage(key.id)] == [(2, 84)]


def test_who_asks_little_is_not_held_up_by_who_asks_much(guarded: tuple[FakeAssistant, Keys, httpx.Client]) -> None:
    assistant, keys, http = guarded
    many, few = (keys.add(name, Limits(), now())[1] for name in ("many", "few"))
    started, go_on = threading.Event(), threading.Event()

    def pause(number: int) -> None:
        started.set()
        go_on.wait()

    assistant.pause = pause

    def ask(text: str, word: str) -> int:
        body = {"model": MODEL, "messages": [{"role": "user", "content": word}]}
        return http.post(CHAT, json=body, headers=bearer(text), timeout=60).status_code

    def waiting() -> int:
        return int(
            re.findall(r"^townsquare_waiting (\d+)$", http.get("/metrics", headers=bearer(seeing)).text, re.M)[0]
        )

    _, seeing = keys.add("meter", Limits(scopes=("metrics",)), now())
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(ask, many, "many")]
        started.wait()
        jobs += [threads.submit(ask, many, "many") for _ in range(5)]
        while waiting() < 5:
            pass
        jobs.append(threads.submit(ask, few, "few"))
        while waiting() < 6:
            pass
        go_on.set()
        assert [job.result() for job in jobs] == [200] * 7
    order = [turns[0][1] for turns, _ in assistant.asked]
    assert order.index("few") <= 2  # after the one at work and at most one more


def test_metrics_count_and_name_nobody(guarded: tuple[FakeAssistant, Keys, httpx.Client]) -> None:
    _, _, http = guarded
    http.post(CHAT, json=BODY)
    http.get("/posts", params={"uid": "x:secret"})
    http.get("/secret-address")
    reply = http.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    figures = dict(re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", reply.text, re.M))
    assert figures['townsquare_requests_total{path="/v1/chat/completions",status="200"}'] == "1"
    assert figures['townsquare_requests_total{path="other",status="404"}'] == "1"
    assert figures['townsquare_answers_total{outcome="found"}'] == "1"
    assert (
        figures["townsquare_first_byte_seconds_count"]
        == figures['townsquare_first_byte_seconds_bucket{le="+Inf"}']
        == "3"
    )
    assert "secret" not in reply.text
    for line in reply.text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \S+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line), (
            line
        )


def test_other_addresses_are_listened_on_only_with_keys() -> None:
    with pytest.raises(ConfigError, match="without keys"):
        listen("0.0.0.0", 0)
    with listen("0.0.0.0", 0, keyed=True) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


# On the command line


def call(*arguments: str, square: Square) -> str:
    result = CliRunner().invoke(app, ["keys", *arguments, "--square", str(square.root)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_keys_on_the_command_line(square: Square) -> None:
    assert json.loads(call("list", "--json", square=square)) == []
    text = call("add", "town website", "--requests-per-minute", "3", "--scopes", "chat", square=square).split()[0]
    with closing(Keys.open(square)) as keys:
        key = keys.admit(text, "chat", now(), counts=True)
    assert (key.name, key.scopes, key.requests_per_minute) == ("town website", ("chat",), 3)
    (listed,) = json.loads(call("list", "--json", square=square))
    assert (listed["state"], listed["usage"][0][1:]) == ("live", [1, 0])
    assert text not in json.dumps(listed)
    assert "1 requests, 0 tokens" in call("list", square=square)
    assert "Revoked" in call("revoke", key.id, square=square)
    assert "revoked" in call("list", square=square)
    result = CliRunner().invoke(app, ["keys", "add", "x", "--scopes", "all", "--square", str(square.root)])
    assert (result.exit_code, "chat, posts, metrics" in result.stderr) == (2, True)


def test_two_processes_count_together(square: Square) -> None:
    with closing(Keys.open(square)) as keys:
        key, text = keys.add("site", Limits(requests_per_minute=1000), NOON)
        code = (
            "import sys; from pathlib import Path; from townsquare.serve.keys import Keys\n"
            "from townsquare.square import Square\n"
            "keys = Keys.open(Square.open(Path(sys.argv[1])))\n"
            "for _ in range(50):\n"
            f"    keys.admit(sys.argv[2], 'chat', {NOON}, counts=True)\n"
            f"    keys.charge({key.id!r}, 2, {NOON})"
        )
        running = [subprocess.Popen([sys.executable, "-c", code, str(square.root), text]) for _ in range(2)]
        assert [process.wait() for process in running] == [0, 0]
        assert [used[1:] for used in keys.usage(key.id)] == [(100, 200)]
