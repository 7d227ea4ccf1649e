"""The owner's page in a real browser: its figures, its key, what others wrote in it, narrow windows, axe."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.report.test_owner import AT, appended, busy
from tests.serve.browser import Browser
from tests.serve.serving import HOSTILE, FakeAssistant, serving
from townsquare.consent.grants import Grant, add_grant
from townsquare.report.owner import overview
from townsquare.serve.config import Limits
from townsquare.serve.keys import Keys
from townsquare.square import Square

__all__ = ["busy"]
SHOWN = "document.querySelector('.figures')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here; on Debian: apt-get install chromium")
    browser = Browser(chromium)
    yield browser
    browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (320, "light")])
def test_the_page_shows_the_square_and_breaks_nothing(browser: Browser, busy: Square, width: int, scheme: str) -> None:
    add_grant(busy, Grant("hostile", HOSTILE, HOSTILE, ("display",), sources=("*",)))
    browser.log.clear()
    with serving(FakeAssistant(), overview=partial(overview, busy, AT)) as address:
        browser.open(f"{address}/owner", width=width, height=900, scheme=scheme)
        browser.wait_for(SHOWN)
        told = browser.text("main")
        for words in ("North Works", "$656 of $800 left", "ends soon, 18 days left", "1 not ended", "5 in seven days"):
            assert words in told, words
        assert HOSTILE in told  # as text
        assert browser.evaluate("document.title") == "The owner’s page · townsquare"
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        assert axe(browser) == []
    assert browser.log == []


def axe(page: Browser) -> list[str]:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        return []
    page.evaluate(f"{Path(spec.origin).with_name('axe.min.js').read_text(encoding='utf-8')}; 0")
    found = "axe.run().then((found) => found.violations.map((one) => `${one.id}: ${one.nodes[0].html}`))"
    return list(page.evaluate(found))


def test_where_keys_are_needed_the_page_asks_for_one_of_the_owners(browser: Browser, busy: Square) -> None:
    with closing(Keys.open(busy)) as keys:
        _, reader = keys.add("reader", Limits(), time.time())
        _, owner = keys.add("owner", Limits(scopes=("owner",)), time.time())
        with serving(FakeAssistant(), keys=keys, overview=partial(overview, busy, AT)) as address:
            assert httpx.get(f"{address}/owner/now").status_code == 401
            refused = httpx.get(f"{address}/owner/now", headers={"authorization": f"Bearer {reader}"})
            assert (refused.status_code, "North Works" in refused.text) == (403, False)
            browser.open(f"{address}/owner")
            for text, ends in (
                (reader, "document.getElementById('told').textContent.includes('not for')"),
                (owner, SHOWN),
            ):
                browser.wait_for("!document.getElementById('key-form').hidden")
                browser.evaluate("document.getElementById('key').focus()")
                browser.type(text)
                browser.press("Enter")
                browser.wait_for(ends)
            assert "North Works" in browser.text("main")


def test_an_altered_ledger_is_the_only_thing_shown(browser: Browser) -> None:
    with serving(FakeAssistant()) as address:
        browser.open(f"{address}/owner")
        browser.wait_for("document.querySelector('[role=alert]')")
        assert "The ledger does not hold: row 3 was altered." in browser.text("main")
        assert not browser.evaluate(f"Boolean({SHOWN})")


def test_an_empty_square_says_what_to_do_first(browser: Browser, square: Square) -> None:
    appended(square, "noted", {})
    with serving(FakeAssistant(), overview=partial(overview, square, AT)) as address:
        browser.open(f"{address}/owner")
        browser.wait_for(SHOWN)
        for words in (
            "No grant is on record",
            "Nobody lends GPUs here",
            "No model was trained",
            "Nobody asked for one",
        ):
            assert words in browser.text("main"), words
