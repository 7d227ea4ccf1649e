"""Forms of a text in which posts are compared. All are Polars expressions over a column of text."""

from __future__ import annotations

import polars as pl

LINK = r"(?i)https?://\S+|(?-u:\b)www\.\S+"  # no \b before http: an arrow's variation selector counts as a letter
MENTION = r"@[\w.]+(?:@[\w.-]+)?"
NO_EMOJI = r"[^\s\p{Extended_Pictographic}\p{Emoji_Modifier}\x{200d}\x{fe0f}\x{1f1e6}-\x{1f1ff}]"


def says(text: pl.Expr, pattern: str) -> pl.Expr:
    r"""Whether the text holds the pattern, with \b as ASCII knows it: where a text holds any other character,
    Unicode's takes the regex engine off its fast path (on 196,186 posts 4.0 s against 0.08 s for one pattern)."""
    return text.str.contains(pattern.replace(r"\b", r"(?-u:\b)"))


def without_links(text: pl.Expr) -> pl.Expr:
    """The text less its links, trimmed."""
    return text.str.replace_all(LINK, "").str.strip_chars()


def folded(text: pl.Expr) -> pl.Expr:
    """What two copies share: no links, no mentions, one case, one spacing, compatible characters as one (NFKC)."""
    bare = without_links(text).str.replace_all(MENTION, " ").str.normalize("NFKC").str.to_lowercase()
    return one_spacing(bare)


def one_spacing(text: pl.Expr) -> pl.Expr:
    """Every run of white space as one space, none at the ends. Lone spaces, which are most, are left alone."""
    return text.str.replace_all(r"\s\s+|[^\S ]", " ").str.strip_chars()


BEFORE = (
    r"^(?:(?:so|very|how|too) true|this|same|exactly|facts?|breaking|icymi|reminder|must[ -]read|rt|mt|via|wow|lol)"
    r" ?[:!|»>-]+ ?"
)
AFTER = (
    r"(?: ?[(\[](?:via|from|by|h/?t|credit|rt)\b[^)\]]{0,40}[)\]]| (?:via|h/t) (?:an? |my )?\S+"
    r"| (?:pls|please) (?:rt|share|repost))+$"
)
"""What people put around a post that they pass on."""


def core(fold: pl.Expr) -> pl.Expr:
    """What stays of a folded text when it is passed on: its words, without what people put before and after them."""
    bare = fold.str.replace(BEFORE, "").str.replace_all(AFTER, "")
    return bare.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


def template(fold: pl.Expr) -> pl.Expr:
    """What two posts from one template share: of the folded text its words and letters, every number as 0."""
    return fold.str.replace_all(r"\p{N}+([.,:]\p{N}+)*", "0").str.replace_all(r"[^\p{L}\p{N}#]+", " ").str.strip_chars()


def letters(text: pl.Expr) -> pl.Expr:
    """How many letters and digits there are outside links and mentions."""
    bare = without_links(text).str.replace_all(MENTION, "")
    return bare.str.replace_all(r"[^\p{L}\p{N}]+", "").str.len_chars()  # in half the time of counting matches
