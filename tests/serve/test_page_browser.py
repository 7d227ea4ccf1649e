"""The page in a real browser: a conversation, every state, hostile posts, the keyboard, narrow windows."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.serve.browser import Browser
from tests.serve.serving import ANSWER, BAKERY, HOSTILE, LIBRARY, NOTHING, FakeAssistant, facts_of, serving
from townsquare.serve.answers import Answer, Sentence
from townsquare.serve.config import Limits
from townsquare.serve.engines import EngineError
from townsquare.serve.filters import Filters
from townsquare.serve.keys import Keys
from townsquare.square import Square

FACTS = facts_of("Town Forum Ltd", examples=("When does the library open?", "Who bakes?", "What was shut?"))
DONE = "document.querySelectorAll('.turn:not([aria-busy]) .mark').length > 0"
KEPT = "localStorage.getItem('townsquare.conversation')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here; on Debian: apt-get install chromium")
    browser = Browser(chromium)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeAssistant, str]]:
    assistant = FakeAssistant()
    with serving(assistant, FACTS) as address:
        yield assistant, address


@pytest.fixture
def assistant(served: tuple[FakeAssistant, str]) -> FakeAssistant:
    served[0].__init__()  # type: ignore[misc]
    return served[0]


@pytest.fixture
def page(browser: Browser, assistant: FakeAssistant, served: tuple[FakeAssistant, str]) -> Iterator[Browser]:
    """The page, fresh. Afterwards: it asked nobody but its server, and broke no policy and no script."""
    browser.open(served[1])
    browser.evaluate("localStorage.clear()")
    browser.open(served[1])
    browser.log.clear()
    browser.asked.clear()
    yield browser
    own = (served[1], "blob:" + served[1], "data:image/svg+xml;base64,")  # the last is Chromium's icon in a date field
    assert [url for url in browser.asked if not url.startswith(own)] == []
    assert [line for line in browser.log if "status of" not in line] == []  # a 404 or 503 is told there too


def ask(page: Browser, question: str = "When does the library open?") -> None:
    page.evaluate("document.getElementById('question').focus()")
    page.type(question)
    page.press("Enter")


def reload(page: Browser, address: str) -> None:
    page.open("about:blank")
    page.open(address)


def test_a_conversation_with_citations(page: Browser) -> None:
    assert "Ask the square" in page.text("main")
    assert "Town Forum Ltd" in page.text("footer")
    ask(page)
    page.wait_for(DONE)
    assert page.text(".answer").startswith(
        "The library on Mill Street opens at nine on Saturdays.1 It does not open early.2"
    )
    assert "@ana@town.example" in page.text(".sources")
    assert "12 Mar 2026" in page.text(".asof")
    own = page.evaluate("[...document.querySelectorAll('.own')].map((own) => own.textContent)")
    assert own == ["Bring a coat. (the model’s own words)"]
    assert "own words" in page.text(".legend")
    assert "Ask the square" not in page.text("main")

    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    card = page.text("#card")
    assert LIBRARY.text in card
    assert "10 Mar 2026, 08:12 UTC, from Mastodon" in card
    assert page.evaluate("document.querySelector('#card .out').href") == LIBRARY.url
    page.press("Escape")
    page.wait_for("!document.getElementById('card').open")
    page.click(".sources li:nth-child(2) button")
    page.wait_for("document.getElementById('card').open")
    assert BAKERY.text in page.text("#card")
    assert page.evaluate("document.querySelector('#card .out').hidden")  # it has no address
    page.click("#card .close")


def test_the_second_question_carries_the_first(page: Browser, assistant: FakeAssistant) -> None:
    ask(page)
    page.wait_for(DONE)
    ask(page, "And on Sundays?")
    page.wait_for("document.querySelectorAll('.turn:not([aria-busy]) .asof:not([hidden])').length === 2")
    assert assistant.asked[1][0] == [
        ("user", "When does the library open?"), ("assistant", ANSWER.text), ("user", "And on Sundays?"),
    ]  # fmt: skip


def test_hostile_text_stays_text(page: Browser, assistant: FakeAssistant) -> None:
    post = dataclasses.replace(LIBRARY, text=HOSTILE, author_handle=HOSTILE, network=HOSTILE, url="javascript:alert(1)")
    assistant.answer = Answer(HOSTILE, (Sentence(HOSTILE, (1,), True, True),), (post,), "2026-03-12", True, "chat")
    assistant.posts = {post.uid: post}
    ask(page, HOSTILE)
    page.wait_for(DONE)
    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    for selector in (".asked", ".answer", ".sources", "#card"):
        assert HOSTILE in page.text(selector)
    assert page.evaluate("document.querySelectorAll('main img, main script, dialog img, dialog script').length") == 0
    assert page.evaluate("document.title") == "townsquare"
    assert not page.evaluate("document.querySelector('#card .out').hasAttribute('href')")


def test_a_post_removed_meanwhile_leaves_the_stored_conversation(
    page: Browser, assistant: FakeAssistant, served: tuple[FakeAssistant, str]
) -> None:
    ask(page)
    page.wait_for(DONE)
    assert BAKERY.text not in page.evaluate(KEPT)  # posts themselves are never kept
    assert "Mill Street" in page.evaluate(KEPT)
    del assistant.posts[LIBRARY.uid]
    reload(page, served[1])
    page.wait_for("document.querySelector('.removed')")
    assert "This post was removed." in page.text(".sources li:first-child")
    assert "@ben_bakes" in page.text(".sources li:nth-child(2)")
    shown = page.text("main") + page.evaluate(KEPT)
    assert "Mill Street" not in shown
    assert "ana@" not in page.text("main")
    ask(page, "And on Sundays?")
    page.wait_for("document.querySelectorAll('.turn').length === 2")
    assistant.ended.acquire()
    assistant.ended.acquire()
    assert assistant.asked[1][0][1] == ("assistant", "It does not open early. Bring a coat.")


def test_a_post_removed_meanwhile_is_not_opened(page: Browser, assistant: FakeAssistant) -> None:
    ask(page)
    page.wait_for(DONE)
    del assistant.posts[LIBRARY.uid]
    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    assert "This post was removed." in page.text("#card")
    assert "Mill Street" not in page.text("body")


def test_streams_and_stops(page: Browser, assistant: FakeAssistant) -> None:
    go_on = threading.Event()
    assistant.pause = lambda number: None if number < 3 else (go_on.wait(), None)[1]
    ask(page)
    page.wait_for("document.querySelector('.answer').innerText.startsWith('The library on')")
    assert page.evaluate("document.querySelector('.turn').getAttribute('aria-busy')") == "true"
    page.click("#stop")
    page.wait_for("document.querySelector('.turn:not([aria-busy])')")
    go_on.set()
    assistant.ended.acquire()
    assert "You stopped this answer" in page.text(".turn")
    assert page.evaluate(f"JSON.parse({KEPT})[0].answer") is None


def test_an_engine_that_is_away_can_be_asked_again(page: Browser, assistant: FakeAssistant) -> None:
    assistant.error = EngineError("the upstream is away")
    ask(page)
    page.wait_for("!document.querySelector('.failure').hidden")
    assert "The model is away" in page.text(".failure")
    assistant.error = None
    page.click(".again")
    page.wait_for(DONE)
    assert page.text(".failure") == ""


def test_an_error_amid_an_answer_is_told(page: Browser, assistant: FakeAssistant) -> None:
    assistant.error, assistant.error_after = EngineError("silent"), 2
    ask(page)
    page.wait_for("!document.querySelector('.failure').hidden")
    assert page.text(".answer").startswith("The library")


def test_nothing_found_is_said(page: Browser, assistant: FakeAssistant) -> None:
    assistant.answer = NOTHING
    ask(page, "Who is the mayor of Mars?")
    page.wait_for("document.querySelector('.turn:not([aria-busy]) .nothing')")
    assert page.text(".answer").strip() == NOTHING.text
    assert page.evaluate("document.querySelector('.sources').hidden && document.querySelector('.legend').hidden")


def test_a_server_that_cannot_be_reached_is_told(page: Browser) -> None:
    page.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    ask(page)
    page.wait_for("!document.querySelector('.failure').hidden")
    page.send("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    assert "The server does not answer." in page.text(".failure")
    page.log[:] = [line for line in page.log if "ERR_INTERNET_DISCONNECTED" not in line]


def test_a_cleared_conversation_can_be_brought_back(page: Browser) -> None:
    ask(page)
    page.wait_for(DONE)
    page.click("#new")
    assert "Ask the square" in page.text("main")
    assert json.loads(page.evaluate(KEPT)) == []
    page.click("#undo")
    assert "The library on Mill Street" in page.text(".answer")


@pytest.mark.parametrize(
    "kept", ["{", "null", "7", "[null]", '[{"question": 5}]', '[{"question": "Hm?", "answer": {}}]']
)
def test_what_a_browser_kept_may_be_broken(page: Browser, served: tuple[FakeAssistant, str], kept: str) -> None:
    page.evaluate(f"localStorage.setItem('townsquare.conversation', {json.dumps(kept)})")
    reload(page, served[1])
    ask(page)
    page.wait_for(DONE)
    assert "The library on Mill Street" in page.text("main")


def test_the_keyboard_is_enough(page: Browser) -> None:
    """From the top: skip link, examples; then from the question back to the first mark, the card, and out again."""
    page.evaluate("document.activeElement.blur()")
    seen = []
    while not page.evaluate("document.activeElement.matches('.example')"):
        page.press("Tab")
        seen.append(page.evaluate("document.activeElement.innerText"))
        assert len(seen) < 8, seen
    page.press("Enter")
    page.wait_for(DONE)
    assert page.text(".asked") == FACTS.examples[0]
    page.wait_for("document.activeElement.id === 'question'")
    for _ in range(8):  # four actions, two sources, two marks
        page.press("Tab", shift=True)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Post 1, by @ana@town.example"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    page.wait_for("document.getElementById('card').open")
    page.press("Escape")
    page.wait_for("document.activeElement.matches('.mark')")
    page.evaluate("document.getElementById('question').focus()")
    page.type("one")
    page.press("Enter", shift=True)
    assert page.evaluate("document.querySelectorAll('.turn').length") == 1


def test_every_control_has_a_name(page: Browser) -> None:
    ask(page)
    page.wait_for(DONE)
    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    page.send("Accessibility.enable")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    page.click("#card .close")
    nodes += page.send("Accessibility.getFullAXTree")["nodes"]
    page.send("Accessibility.disable")
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in ("button", "link", "textbox", "dialog", "log", "heading")
    ]
    assert [role for role, name in named if not name] == []
    assert {"button", "link", "textbox", "dialog", "log", "heading"} <= {role for role, _ in named}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Browser, served: tuple[FakeAssistant, str], scheme: str) -> None:
    """WCAG's contrast of at least 4.5 for every colour that text has, on the page's and the cards' grounds."""
    page.open(served[1], scheme=scheme)
    colours = page.evaluate(
        """(() => { const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(['paper', 'raised', 'ink', 'muted', 'accent', 'accent-soft', 'on-accent', 'alarm']
          .map((name) => [name, style.getPropertyValue(`--${name}`).trim()])); })()"""
    )
    pairs = [(text, ground) for text in ("ink", "muted", "accent") for ground in ("paper", "raised")]
    for text, ground in [*pairs, ("on-accent", "accent"), ("accent", "accent-soft")]:
        assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("width", [320, 768, 1440])
def test_nothing_sticks_out_of_the_window(
    page: Browser, assistant: FakeAssistant, served: tuple[FakeAssistant, str], width: int
) -> None:
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    page.resize(width, 640)
    assert page.evaluate(fits)
    long = dataclasses.replace(LIBRARY, text="https://town.example/" + "a" * 300, author_handle="b" * 80)
    assistant.answer = dataclasses.replace(
        ANSWER, citations=(long, BAKERY), sentences=(Sentence("c" * 200, (1,), True, False),)
    )
    assistant.posts = {long.uid: long}
    ask(page, "d" * 200)
    page.wait_for(DONE)
    assert page.evaluate(fits)
    assert page.evaluate("document.querySelector('body > header').offsetHeight") == 64  # its words stand on one line
    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    assert page.evaluate("document.getElementById('card').scrollWidth <= document.getElementById('card').clientWidth")
    page.press("Escape")


def answered(page: Browser, count: int) -> None:
    page.wait_for(f"document.querySelectorAll('.turn:not([aria-busy]) .asof:not([hidden])').length === {count}")


def test_a_question_is_changed_and_the_earlier_way_is_kept(
    page: Browser, assistant: FakeAssistant, served: tuple[FakeAssistant, str]
) -> None:
    ask(page)
    answered(page, 1)
    ask(page, "And on Sundays?")
    answered(page, 2)
    page.click(".edit")
    assert page.evaluate("document.getElementById('question').value") == "When does the library open?"
    page.press("Escape")
    assert page.text("#editing") == ""
    page.click(".edit")
    page.evaluate("document.getElementById('question').select()")
    ask(page, "When does the bakery open?")
    answered(page, 1)
    assert page.text(".asked") == "When does the bakery open?"
    assert assistant.asked[-1][0] == [("user", "When does the bakery open?")]
    assert "2 of 2" in page.text(".ways")
    reload(page, served[1])  # all of it is kept
    answered(page, 1)
    page.click(".back")
    assert page.evaluate("[...document.querySelectorAll('.asked')].map((asked) => asked.innerText)") == [
        "When does the library open?", "And on Sundays?",
    ]  # fmt: skip
    assert "1 of 2" in page.text(".ways")
    page.click(".anew")  # asking again is one more way
    answered(page, 1)
    assert "3 of 3" in page.text(".ways")
    del assistant.posts[LIBRARY.uid]
    reload(page, served[1])
    page.wait_for("document.querySelector('.removed')")
    assert "Mill Street" not in page.evaluate(KEPT)  # on no way
    assert json.loads(page.evaluate(KEPT))[0]["alts"].count(None) == 1


def test_an_answer_is_judged(page: Browser, assistant: FakeAssistant) -> None:
    ask(page)
    answered(page, 1)
    page.click(".good")
    page.wait_for("document.querySelector('.good').getAttribute('aria-pressed') === 'true'")
    (opinion,) = assistant.opinions
    assert (opinion.verdict, opinion.model) == ("good", "chat")
    assert opinion.uids == (LIBRARY.uid, BAKERY.uid)
    assert opinion.answer.startswith("The library on Mill Street opens at nine on Saturdays. It does")


def test_a_question_is_narrowed_down(page: Browser, assistant: FakeAssistant) -> None:
    page.evaluate("document.getElementById('filters').open = true")
    page.evaluate("document.getElementById('by-author').focus()")
    page.type("ana")
    page.evaluate("document.getElementById('by-since').value = '2026-01-02'")
    page.evaluate("document.getElementById('by-network').value = 'masto'")
    ask(page)
    page.wait_for(DONE)
    assert assistant.filters == [Filters(authors=("@ana",), networks=("masto",), since="2026-01-02")]
    assert page.text("#narrowed") == "3 on"
    page.click("#clear")
    assert page.text("#narrowed") == ""


def test_a_card_shows_the_thread_around_its_post(page: Browser, assistant: FakeAssistant) -> None:
    asked = dataclasses.replace(LIBRARY, uid="masto:0", text="When does it open?", author_handle="zoe")
    reply = dataclasses.replace(LIBRARY, uid="masto:2", text=HOSTILE, author_handle="eve")
    assistant.around = ([asked], [reply])
    assistant.posts["masto:0"] = asked
    ask(page)
    page.wait_for(DONE)
    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    card = page.text("#card")
    assert card.index("When does it open?") < card.index("The library on Mill") < card.index(HOSTILE)
    page.click("#card .before button")
    page.wait_for("document.querySelector('#card h2').textContent === '@zoe'")
    page.press("Escape")


def test_a_conversation_is_exported_without_posts(page: Browser) -> None:
    ask(page)
    page.wait_for(DONE)
    text = page.evaluate(
        """(async () => { const keep = await import('/page/keep.js');
        const cards = new Map([['x:200', { url: 'https://town.example/2' }]]);
        return keep.written(keep.load(), cards); })()"""
    )
    assert text.startswith("# A conversation with townsquare\n\n## When does the library open?\n\nThe library on Mill")
    assert "[1] masto:https://town.example/@ana/1\n[2] https://town.example/2" in text
    assert BAKERY.text not in text
    page.click("#export")


def test_a_server_that_wants_a_key_is_given_one(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    square = Square.create(tmp_path_factory.mktemp("keyed") / "square")
    with closing(Keys.open(square)) as keys, serving(FakeAssistant(), FACTS, keys) as address:
        _, text = keys.add("reader", Limits(), time.time())
        browser.open(address)
        ask(browser)
        browser.wait_for("document.getElementById('key').open")
        assert browser.evaluate("document.activeElement.id") == "key-text"
        browser.type(text)
        browser.press("Enter")
        browser.wait_for(DONE)
        assert "The library on Mill Street" in browser.text(".answer")
        assert text not in browser.evaluate("JSON.stringify(localStorage)")
    browser.log.clear()


def test_am_i_in_it(page: Browser, served: tuple[FakeAssistant, str]) -> None:
    page.open(f"{served[1]}/about")
    assert "1,234 posts" in page.text("main")
    assert "Town Forum Ltd" in page.text("table")
    for name, told in (("@ana", "Yes."), ("@nobody", "No:"), ("what", "that names nobody. Write @handle.")):
        page.evaluate("document.getElementById('name').focus(); document.getElementById('name').select()")
        page.type(name)
        page.press("Enter")
        page.wait_for(f"document.getElementById('told').textContent.startsWith({json.dumps(told)})")
        assert ("3 in use" in page.text("#found")) == (name == "@ana")


def test_axe_finds_nothing(page: Browser, assistant: FakeAssistant, served: tuple[FakeAssistant, str]) -> None:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe is not here; pip install axe-playwright-python")
    axe = Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")

    def found() -> list[str]:
        page.evaluate(f"{axe}; 0")
        results = page.evaluate(
            "axe.run().then((found) => found.violations.map((one) => `${one.id}: ${one.nodes[0].html}`))"
        )
        return list(results)

    assert found() == []
    assistant.around = ([BAKERY], [BAKERY])
    page.evaluate("document.getElementById('filters').open = true")
    ask(page)
    page.wait_for(DONE)
    assert found() == []
    page.click(".mark")
    page.wait_for("document.getElementById('card').open")
    assert found() == []
    page.press("Escape")
    page.open(f"{served[1]}/about")
    assert found() == []
