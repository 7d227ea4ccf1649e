"""Settings of the takedown stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

Kind = Literal[
    "delete", "author_delete", "author_undelete", "protect", "unprotect", "suspend", "unsuspend", "opt_out", "opt_in"
]


@dataclasses.dataclass(frozen=True)
class TakedownConfig:
    """What is taken down. Without posts, authors or a list, the events that ingest brought are applied."""

    post: tuple[str, ...] = ()
    """A post's uid, such as x:1626922779105759235. May be given several times."""
    author: tuple[str, ...] = ()
    """An author, as x:2244994945 or @handle. May be given several times."""
    list: Path | None = None
    """A text file with one uid, author or @handle a line."""
    kind: Kind | None = None
    """What happened; by default delete for posts and author_delete for authors."""
    reason: str = "requested"
    """Why, in a word, for the record."""
