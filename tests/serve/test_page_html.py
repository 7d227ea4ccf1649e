"""The page as it leaves the server: escaped, without anything inline, without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources

import httpx
import pytest

from tests.serve.serving import HOSTILE, FakeAssistant, facts_of, serving
from townsquare.serve.api import PAGE_FILES

PAGE = resources.files("townsquare.serve").joinpath("page")


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def hostile_page() -> Iterator[str]:
    assistant = FakeAssistant()
    assistant.engine.name = HOSTILE
    facts = facts_of(HOSTILE, "B", "C", "D", examples=(HOSTILE, "What is open?"))
    with serving(assistant, facts) as address:
        yield httpx.get(f"{address}/").text


def test_what_a_square_says_of_itself_is_escaped(hostile_page: str) -> None:
    tags = Tags(hostile_page)
    assert HOSTILE not in hostile_page
    assert tags.text.count(HOSTILE) == 3  # the example, the model, the grantor
    assert [attrs for tag, attrs in tags.found if tag == "script"] == [{"type": "module", "src": "/page/page.js"}]
    assert dict(tags.found)["body"] == {"data-model": HOSTILE}
    assert "and 1 more." in hostile_page


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(hostile_page: str) -> None:
    for tag, attributes in Tags(hostile_page).found:
        assert tag != "style"
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in ("src", "href"):
                assert value is not None
                assert value.startswith(("/page/", "#")) or value == "/about", (tag, value)
    for name in PAGE_FILES:
        source = PAGE.joinpath(name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"(^|\s)//.*$|https\?:\\/\\/", "", source, flags=re.MULTILINE), name


def test_scripts_never_write_html() -> None:
    for name in PAGE_FILES:
        source = PAGE.joinpath(name).read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in source, (name, way)


def test_every_file_of_the_page_is_served() -> None:
    with serving(FakeAssistant()) as address:
        for name, kind in PAGE_FILES.items():
            reply = httpx.get(f"{address}/page/{name}")
            assert reply.headers["content-type"].partition(";")[0] == kind
            assert reply.content == PAGE.joinpath(name).read_bytes()
    assert {path.name for path in PAGE.iterdir()} == {
        "index.html",
        "about.html",
        "owner.html",
        "owner_now.html",
        *PAGE_FILES,
    }


def test_a_square_without_grants_says_so() -> None:
    with serving(FakeAssistant(), facts_of()) as address:
        page = httpx.get(f"{address}/").text
    assert "Nobody's leave to show posts is on record." in page
    assert 'class="hints"' in page
