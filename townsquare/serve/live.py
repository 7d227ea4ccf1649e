"""What may be shown right now: every hit is looked up in the posts table, the events and the grants once more.

So a takedown, an opt-out or a revoked grant takes effect at the next question, before any index is rebuilt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.consent import gate
from townsquare.ingest import tables
from townsquare.serve import index
from townsquare.serve.answers import Citation
from townsquare.square import Square

BEFORE, AFTER = 4, 6
"""Posts that a card shows of a thread, before and after its own."""
MOST_REPLIES = 200
PURPOSES = ("retrieve", "display")
NEEDED = tuple(dict.fromkeys([*gate.COLUMNS, *index.COLUMNS, "is_latest_edit"]))


@dataclasses.dataclass(frozen=True)
class Post:
    """A post as the posts table has it now."""

    uid: str
    network: str
    author_id: str | None
    author_handle: str | None
    created_at: str | None
    """ISO 8601, UTC."""
    text: str
    reply_to: str | None
    url: str | None

    def cited(self, number: int) -> Citation:
        """The post as a numbered citation."""
        return Citation(
            number=number,
            uid=self.uid,
            author_handle=self.author_handle,
            author=f"{self.network}:{self.author_id}" if self.author_id else self.network,
            created_at=self.created_at,
            text=self.text,
            url=self.url,
            network=self.network,
        )


def allowed(square: Square, uids: Collection[str]) -> dict[str, Post]:
    """Those of the posts that the gate lets be both retrieved and displayed today, by uid."""
    if not uids:
        return {}
    posts = tables.read_posts(square, columns=NEEDED, where=f"uid IN ({index.quoted(sorted(uids))})")
    consent = tables.read_consent(square)
    for purpose in PURPOSES:
        posts = posts.filter(pc.is_null(gate.refusals(posts, consent, purpose, gate.today())))
    return {post.uid: post for post in _posts(posts)}


def around(square: Square, uid: str) -> tuple[list[Post], list[Post]]:
    """What may be shown of the thread around a post: what it replies to, first post first, and its first replies."""
    before: list[Post] = []
    here = allowed(square, [uid]).get(uid)
    while here and here.reply_to and len(before) < BEFORE and here.reply_to not in {post.uid for post in before}:
        here = allowed(square, [here.reply_to]).get(here.reply_to)
        before[:0] = [here] if here else []
    where = f"reply_to = {index.quoted([uid])}"
    replies = (
        tables.posts_dataset(square).to_table(columns=["uid"], filter=where, limit=MOST_REPLIES)["uid"].to_pylist()
    )
    after = sorted(allowed(square, replies).values(), key=lambda post: (post.created_at or "", post.uid))
    return before, after[:AFTER]


def _posts(table: pa.Table) -> list[Post]:
    return [
        Post(
            uid=row["uid"],
            network=row["network"],
            author_id=row["author_id"],
            author_handle=row["author_handle"],
            created_at=row["created_at"].isoformat() if row["created_at"] else None,
            text=row["text"],
            reply_to=row["reply_to"],
            url=index.url_of(row["uid"], row["network"], row["author_handle"]),
        )
        for row in table.to_pylist()
        if row["text"] and row["is_latest_edit"] is not False
    ]
