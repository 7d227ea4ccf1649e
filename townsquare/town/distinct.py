"""How many posts are unlike all others once names and numbers are masked: what a town's text is worth for learning."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

from townsquare.town.posts import Post

MEASURED = 10_000
"""Posts that are measured, from the town's first on: the share falls with their number."""
ON_PURPOSE = frozenset({"spam", "bot", "copy", "near_copy", "repost"})
_TOKEN = re.compile(r"\w+|\W")
_LINK = re.compile(r"https?://\S+")
_DIGITS = re.compile(r"\d+")


class Distinct:
    """The share of distinct masked posts; those that repeat others on purpose are left out."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, list[list[str]]] = defaultdict(list)
        for name in names:
            words = _TOKEN.findall(name.lower())
            self._names[words[0]].append(words)
        self._seen: set[bytes] = set()
        self._posts = 0

    def post(self, post: Post) -> None:
        if self._posts < MEASURED and ON_PURPOSE.isdisjoint(post.defects):
            self._posts += 1
            self._seen.add(hashlib.blake2b(self.masked(post.text).encode(), digest_size=8).digest())

    def share(self) -> float:
        return len(self._seen) / max(self._posts, 1)

    def masked(self, text: str) -> str:
        """Lower case, without links, every run of digits 0, every invented name, or its first word, X."""
        tokens = _TOKEN.findall(_LINK.sub("", text.lower()))
        found, at = [], 0
        while at < len(tokens):
            names = self._names.get(tokens[at])
            found.append("X" if names else tokens[at])
            at += max((len(name) for name in names or () if tokens[at : at + len(name)] == name), default=1)
        return _DIGITS.sub("0", "".join(found)).strip()
