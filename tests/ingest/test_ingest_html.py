"""HTML to text: what a reader sees, links whole, held to Python's own HTML parser; and nothing that blows up."""

from __future__ import annotations

import html
import re
import resource
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.ingest.html import MOST_TAGS, text_of, unescaped

MENTION = (
    '<span class="h-card" translate="no"><a href="https://far.example/@ann" class="u-url mention">'
    "@<span>ann</span></a></span>"
)
LINK = (
    '<a href="https://www.e.example/a/long/path?q=1" target="_blank" rel="nofollow noopener" translate="no">'
    '<span class="invisible">https://www.</span><span class="ellipsis">e.example/a/long</span>'
    '<span class="invisible">/path?q=1</span></a>'
)


@pytest.mark.parametrize(
    ("given_html", "text"),
    [
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<p>one<br>two<br />three</p>", "one\ntwo\nthree"),
        ("<p>one<br><br><br><br>two</p>", "one\n\ntwo"),
        ("no tags at  all\n", "no tags at all"),
        ("first<p>second<p>third", "first\n\nsecond\n\nthird"),  # Hacker News closes no paragraph
        ("It&#x27;s a&#x2F;b &amp; &quot;c&quot; &lt;d&gt;", 'It\'s a/b & "c" <d>'),
        ("&amp;lt; once", "&lt; once"),
        ("<p>&amp;lt; once</p>", "&lt; once"),
        ("AT&T &c; &copy 2 x&lty", "AT&T &c; &copy 2 x&lty"),  # without a tag only whole entities are ones
        ("<p>a   b\n c</p>", "a b c"),
        ("<p>a\xa0\xa0b</p>", "a\xa0\xa0b"),
        ("<p>look:<pre><code>  if x:\n    y &lt; z\n</code></pre>\nafter", "look:\n\n  if x:\n    y < z\n\nafter"),
        ("<p>a</p><ul><li>b</li><li>c</li></ul><p>d</p>", "a\n\n- b\n- c\n\nd"),
        ("<p>a</p><blockquote><p>b</p></blockquote>c", "a\n\nb\n\nc"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("a<script>alert(1)</script><style>p{}</style><!-- no -->b", "ab"),
        ('<p>hi <img class="emoji" alt=":cat:" src="x"></p>', "hi :cat:"),
        ('<p>see<span class="invisible"> not this</span> this</p>', "see this"),
        ('<p><span class="ellipsis">cut here</span></p>', "cut here…"),
        ("<p></p>", ""),
        ("", ""),
        ("a < b", "a < b"),
    ],
)
def test_text_as_a_reader_sees_it(given_html: str, text: str) -> None:
    assert text_of(given_html) == (text, [])


@pytest.mark.parametrize(
    ("given_html", "text", "links"),
    [
        (f"<p>{MENTION} look {LINK}.</p>", "@ann look https://www.e.example/a/long/path?q=1.", 1),
        ('<a href="https:&#x2F;&#x2F;e.example&#x2F;abcdef" rel="nofollow">https:&#x2F;&#x2F;e.example&#x2F;abc...</a>',
         "https://e.example/abcdef", 1),
        ('<p><a href="https://e.example/x">e.example/x</a></p>', "https://e.example/x", 1),
        ('<p><a href="https://e.example">my page</a>!</p>', "my page (https://e.example)!", 1),
        ('<p><a href="https://e.example"></a></p>', "https://e.example", 1),
        ('<a href="https://bank.example.evil.example/">bank.example</a>', "https://bank.example.evil.example/", 1),
        ('<a href="https://evil.example/">bank.example</a>', "bank.example (https://evil.example/)", 1),
        ('<a href="https://xn--bcher-kva.example/ab"><span class="invisible">https://</span>bücher.example/ab</a>',
         "https://xn--bcher-kva.example/ab", 1),
        ('<a href="https://i.example/tags/cats" class="mention hashtag" rel="tag">#<span>cats</span></a>', "#cats", 0),
        ('<a href="https://i.example/tags/cats" rel="tag">cats</a>', "cats", 0),
        ('<a href="javascript:alert(1)">click</a>', "click", 0),
        ('<a href="https://e.example/y">e</a>', "e (https://e.example/y)", 1),
        ('<a name="x">anchor</a> and <a href="https://e.example/y">y</a>', "anchor and y (https://e.example/y)", 1),
        ('<p><a href="https://e.example/x">e.example/x</a> <a href="https://e.example/x">e.example/x</a></p>',
         "https://e.example/x https://e.example/x", 1),
        ('<p class="quote-inline">RE: <a href="https://i.example/1">i.example/1</a></p><p>mine</p>', "mine", 0),
    ],
)  # fmt: skip
def test_links_are_whole(given_html: str, text: str, links: int) -> None:
    found = text_of(given_html)
    assert (found[0], len(found[1])) == (text, links)
    assert all(link in found[0] for link in found[1])


class Reference(HTMLParser):
    """Python's own parser: all character data, with space where blocks part."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said = ""

    def handle_data(self, data: str) -> None:
        self.said += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.said += "\n" if tag in ("p", "br", "div", "pre", "li", "blockquote") else ""

    def handle_endtag(self, tag: str) -> None:
        self.handle_starttag(tag, None)


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\0"), min_size=1)
nodes = st.recursive(
    words.map(html.escape) | st.sampled_from([" ", "<br>", "<br/>", "\n", "&nbsp;x", "&#x27;"]),
    lambda inside: st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>",
        st.sampled_from(["p", "b", "i", "span", "em", "code", "blockquote", "div", "pre"]),
        st.lists(inside, max_size=4),
    ),
    max_leaves=15,
)


@given(st.lists(nodes, max_size=5).map("".join))
def test_the_same_words_as_pythons_parser_reads(given_html: str) -> None:
    reference = Reference()
    reference.feed(given_html)
    reference.close()
    found, links = text_of(given_html)
    assert "".join(found.split()) == "".join(reference.said.split())
    assert not links
    assert "\n\n\n" not in found or "<pre>" in given_html


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200))
def test_what_was_escaped_comes_back(text: str) -> None:
    expected = re.sub("[ \t\n\r\f]+", " ", text).strip()
    assert text_of(html.escape(text))[0].strip() == expected
    assert text_of(f"<p>{html.escape(text)}</p>")[0].strip() == expected
    assert unescaped(html.escape(text)) == text


PIECES = [*"<>/=\"'& abp!-\0\ud83d", "<a href=", "<p>", "</p>", "<pre>", "<!--", "&#", "<li>", "<table>", "<svg>"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_anything_is_read(text: str) -> None:
    found, links = text_of(text)
    assert isinstance(found, str)
    assert all(isinstance(link, str) for link in links)


HOSTILE = {
    "deep": "<div>" * 200_000 + "end",
    "formatting that every paragraph takes up again": "<p>"
    + "".join(f"<font color={i}>" for i in range(5_000))
    + "<p>x" * 5_000,
    "lists": "<ul><li>" * 100_000 + "end",
    "closing what is not open": "<span>" * 100_000 + "</p>" * 100_000,
    "half tags": "<b " * 200_000,
    "quotes": "<a href='" * 100_000,
    "entities": "<p>" + "&" * 500_000,
    "links in links": '<a href="https://e.example/">x' * 100_000,
    "comments": "<!--" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_nesting_stays_small(name: str) -> None:
    """These took gigabytes or minutes as a tree; the text is still there."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, _ = text_of(HOSTILE[name])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert found.endswith(re.search("[a-z&]*$", HOSTILE[name])[0])  # type: ignore[index]


def test_what_is_too_nested_keeps_its_words() -> None:
    assert text_of("<p><b>a</b> &amp; <i>b</i></p>" * MOST_TAGS)[0].startswith("a & b a & b")
