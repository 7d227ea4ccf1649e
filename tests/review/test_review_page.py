"""The page on which a person overrules a rule: over HTTP, and in a real browser."""

from __future__ import annotations

import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.serve.browser import Browser
from townsquare.consent.grants import Grant, add_grant
from townsquare.curate import overrules, run, tables
from townsquare.curate.config import CurateConfig
from townsquare.errors import StaleError
from townsquare.ingest import run as ingest
from townsquare.ingest.config import IngestConfig
from townsquare.records import PURPOSES
from townsquare.review.samples import PER_PAGE
from townsquare.review.server import make_app, review
from townsquare.serve.server import Server, listen
from townsquare.square import Square

HOSTILE = "<img src=x onerror=alert(1)> HOT DEAL only $99! Hurry, order now https://shop.example/0 mail me@example.org"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Square:
    """Fifty posts that sell, one of which holds markup and an address; and one of somebody protected."""
    folder = tmp_path_factory.mktemp("review")
    square = Square.create(folder / "square")
    add_grant(square, Grant(id="all", grantor="a", grantee="b", purposes=PURPOSES, sources=("*",)))
    lines = [f"p{n},HOT DEAL lamp {n} for only ${n}! Hurry {n} left order now https://shop.example/{n},seller{n % 7}"
             for n in range(50)]  # fmt: skip
    rows = "\n".join(
        ["id,text,author", f'h,"{HOSTILE}",eve', "k,The bakery opens at seven on Sundays they say,ann", *lines]
    )
    (folder / "posts.csv").write_text(rows + "\n", encoding="utf-8")
    ingest.run(square, IngestConfig(paths=(folder / "posts.csv",), name="posts"))
    run.run(square, CurateConfig(near_duplicate=1.0, campaign_authors=99))
    assert len(tables.read_dropped(square)) >= 51
    return square


@pytest.fixture
def square(made: Square, tmp_path: Path) -> Square:
    shutil.copytree(made.root, tmp_path / "square")
    return Square.open(tmp_path / "square")


@pytest.fixture
def client(square: Square) -> TestClient:
    return TestClient(make_app(square, "mara"), base_url="http://127.0.0.1:8001", follow_redirects=False)


def form_of(page: str, **more: str) -> dict[str, str]:
    """The first form's hidden fields, and what a person adds."""
    act = page.split('class="act"')[1].split("</form>", maxsplit=1)[0]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', act)) | more


def test_it_pages_through_a_rules_posts_and_each_comes_once(client: TestClient) -> None:
    first = client.get("/", params={"rule": "promotion"}).text
    (pages,) = re.findall(r"Page 1 of (\d+)", first)
    seen: list[str] = []
    for number in range(1, int(pages) + 1):
        seen += re.findall(
            r'name="post" value="([^"]+)"', client.get("/", params={"rule": "promotion", "page": number}).text
        )
    assert len(seen) == len(set(seen)) == 51
    assert first.count("<article>") == PER_PAGE


def test_text_is_escaped_and_masked(client: TestClient) -> None:
    page = client.get("/", params={"rule": "promotion", "q": "ONERROR"}).text
    assert page.count("<article>") == 1
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert "me@example.org" not in page
    assert "[email]" in page


def test_search_finds_words_as_they_stand(client: TestClient) -> None:
    assert client.get("/", params={"rule": "promotion", "q": "lamp 7 "}).text.count("<article>") == 1
    assert client.get("/", params={"rule": "promotion", "q": "' OR '1'='1"}).text.count("<article>") == 0
    assert client.get("/", params={"rule": "promotion", "q": ".*"}).text.count("<article>") == 0


def test_an_overrule_is_written_with_who_and_why_and_can_be_taken_back(client: TestClient, square: Square) -> None:
    page = client.get("/", params={"rule": "promotion", "q": "lamp 7 "}).text
    answer = client.post("/overrules", data=form_of(page, whose="author", why="a real shop"))
    assert (answer.status_code, answer.headers["location"][:2]) == (303, "/?")
    (one,) = overrules.read(square)
    assert (one.by, one.rule, one.post, one.author, one.why) == (
        "mara",
        "promotion",
        None,
        "table:seller0",
        "a real shop",
    )
    page = client.get("/", params={"rule": "promotion", "q": "lamp 7 "}).text
    assert "Overruled for its author" in page
    assert "townsquare curate --replace" in page
    history = client.get("/overrules").text
    taken = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', history))
    assert client.post("/overrules", data=taken).status_code == 303
    assert overrules.standing(square) == frozenset()
    assert "townsquare curate --replace" not in client.get("/").text


def test_forms_of_other_pages_and_other_hosts_are_refused(client: TestClient, square: Square) -> None:
    page = client.get("/", params={"rule": "promotion"}).text
    assert client.post("/overrules", data=form_of(page, token="guess", whose="post")).status_code == 403
    assert client.post("/overrules", data=form_of(page, rule="gate", whose="post")).status_code == 400
    assert client.post("/overrules", content=b"x" * 100_000).status_code == 413
    away = client.post("/overrules", data=form_of(page, whose="post", back="//evil.example/?"))
    assert away.headers["location"] == "/overrules"
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_what_the_gate_refuses_is_not_shown(client: TestClient, square: Square) -> None:
    from townsquare.consent.grants import revoke_grant

    revoke_grant(square, "all")
    page = client.get("/", params={"rule": "promotion"}).text
    assert "<article>" not in page
    assert f"{PER_PAGE} of this page may not be shown" in page


def test_without_a_corpus_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="townsquare curate"):
        review(Square.create(tmp_path / "empty"), 0, "mara")


@pytest.fixture
def page(square: Square) -> Iterator[tuple[Browser, str]]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or sys.platform != "linux":
        pytest.skip("Chromium is not installed here")
    listening = listen("127.0.0.1", 0)
    server = Server(make_app(square, "mara"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    browser = Browser(chromium)
    try:
        yield browser, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        browser.close()
        server.should_exit = True
        thread.join()


def test_in_a_browser_a_person_overrules_and_nothing_breaks_the_policy(
    page: tuple[Browser, str], square: Square
) -> None:
    browser, address = page
    browser.open(f"{address}/?rule=promotion")
    browser.evaluate("document.querySelector('#q').focus()")
    browser.type("onerror")
    browser.press("Enter")
    browser.wait_for("document.querySelectorAll('article').length === 1 && location.search.includes('onerror')")
    assert "<img src=x onerror=alert(1)>" in browser.text("article .text")
    browser.click("details.act summary")
    browser.evaluate("document.querySelector('input[name=why]').focus()")
    browser.type("only a joke")
    browser.click("button[value=post]")
    browser.wait_for("document.querySelector('.kept')")
    assert [one.why for one in overrules.read(square)] == ["only a joke"]
    for scheme in ("light", "dark"):
        browser.open(f"{address}/?rule=promotion", width=320, scheme=scheme)
        assert browser.evaluate("document.documentElement.scrollWidth") == 320
    assert browser.log == []
    assert all(asked.startswith(address) for asked in browser.asked)
