"""HTML as networks send it, to text as a reader sees it: paragraphs, lines, whole links, nothing hidden."""

from __future__ import annotations

import html as entities
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

# Building a tree takes time and memory that grow with the square of what is nested: 16 kB of <font> made 245 MB.
MOST_TAGS = 5_000
MOST_COPIES = 500_000  # each formatting tag that is left open is made anew in every block that follows
_FORMATTING = re.compile(r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SPACE = re.compile(r"[ \t\n\r\f]+")  # what HTML collapses: a no-break space stays
_NAME = re.compile(r"[@#]\S+")
_LINK = re.compile(r"https?://\S+", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?://)?(?:www\.)?", re.IGNORECASE)

SILENT = frozenset(
    ("script", "style", "template", "title", "noscript", "iframe", "object", "svg", "textarea", "-comment")
)
HIDDEN = frozenset(("invisible", "quote-inline"))
"""Classes of what is not shown: parts of a link, and the link that stands for a quoted post."""
NEW_LINES = {
    **dict.fromkeys(("p", "pre", "blockquote", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr"), 2),
    **dict.fromkeys(("div", "section", "article", "ul", "ol", "dl", "li", "dt", "dd", "tr"), 1),
}


def text_of(html: str) -> tuple[str, list[str]]:
    """The text, and where its links lead to, each once, in order.

    A link is written out whole, whatever part of it is shown; after words of its own it stands in
    brackets. Mentions and hashtags stay as shown. Too much nesting is read without its structure.
    """
    if "<" not in html:
        return unescaped(_SPACE.sub(" ", html)).strip(), []
    tags = html.count("<")
    if tags > MOST_TAGS or tags * len(_FORMATTING.findall(html)) > MOST_COPIES:
        return _SPACE.sub(" ", unescaped(_TAG.sub(" ", html))).strip(), []
    from selectolax.lexbor import LexborHTMLParser

    page = _Page()
    _walk(LexborHTMLParser(html, is_fragment=True).root, page)  # the root of a fragment is its first node
    return "".join(page.parts).strip(), list(dict.fromkeys(page.links))


def unescaped(text: str) -> str:
    """Text with its entities decoded, once; only those that end as they should, for "AT&T" has none."""
    return _ENTITY.sub(lambda match: entities.unescape(match[0]), text) if "&" in text else text


class _Page:
    """Text as it is put together: runs of white space are one space, blocks stand apart."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.links: list[str] = []
        self.verbatim = 0
        self._due = 0

    def say(self, text: str) -> None:
        if not self.verbatim:
            text = _SPACE.sub(" ", text)
            if self._due or not self.parts or self.parts[-1].endswith((" ", "\n")):
                text = text.lstrip(" ")
        if not text:
            return
        if self._due and self.parts:
            self.parts[-1] = self.parts[-1].rstrip(" \n")
            self.parts.append("\n" * self._due)
        self._due = 0
        self.parts.append(text)

    def block(self, lines: int) -> None:
        """What comes next begins at least so many lines further down."""
        self._due = max(self._due, lines)

    def line(self) -> None:
        self._due = min(self._due + 1, 2)


def _walk(first: LexborNode | None, page: _Page) -> None:
    """Every node in the order of the text; a string on the stack is said or ended when its turn comes."""
    stack = _last_first(first)
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            _leave(node, page)
            continue
        tag = node.tag or ""
        if tag == "-text":
            page.say(node.text_content or "")
        elif tag == "br":
            page.line()
        elif tag == "a":
            _link(node, page)
        elif tag == "img":
            page.say(node.attributes.get("alt") or "")
        elif tag not in SILENT:
            classes = _classes(node)
            if HIDDEN.isdisjoint(classes):
                stack.append("…" if "ellipsis" in classes else tag)
                _enter(tag, page)
                stack += _last_first(node.first_child)


def _last_first(node: LexborNode | None) -> list[LexborNode | str]:
    """A node and those that stand beside it, as a stack wants them."""
    found: list[LexborNode | str] = []
    while node is not None:
        found.append(node)
        node = node.next
    return found[::-1]


def _classes(node: LexborNode) -> set[str]:
    return set((node.attributes.get("class") or "").split())


def _enter(tag: str, page: _Page) -> None:
    page.block(NEW_LINES.get(tag, 0))
    if tag == "pre":
        page.verbatim += 1
    elif tag == "li":
        page.say("- ")


def _leave(tag: str, page: _Page) -> None:
    if tag == "…":
        page.say(tag)
        return
    page.block(NEW_LINES.get(tag, 0))
    if tag == "pre":
        page.verbatim -= 1
    elif tag in ("td", "th"):
        page.say(" ")


def _link(node: LexborNode, page: _Page) -> None:
    inside = [part for part in _last_first(node.first_child)[::-1] if not isinstance(part, str)]
    label = _SPACE.sub(" ", "".join(part.text() for part in inside)).strip()
    said, classes = node.attributes, _classes(node)
    href = _SPACE.sub("", said.get("href") or "")
    if not HIDDEN.isdisjoint(classes):
        return
    named = not classes.isdisjoint(("mention", "hashtag")) or "tag" in (said.get("rel") or "").split()
    if named or _NAME.fullmatch(label) or not _LINK.fullmatch(href):
        page.say(label)
        return
    page.links.append(href)
    whole = not label or _shows(label, href) or node.css_first("span.invisible, span.ellipsis") is not None
    page.say(href if whole else f"{label} ({href})")


def _shows(label: str, href: str) -> bool:
    """Whether a link's words are its own beginning, as where a long one is cut for display."""
    shown = _SCHEME.sub("", label.rstrip("….").removesuffix("/"), count=1)
    return ("." in shown or "/" in shown) and _SCHEME.sub("", href, count=1).startswith(shown)
