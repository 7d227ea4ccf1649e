"""A post as it may be shown: as the posts table has it now, after the gate has let it be retrieved and displayed."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from townsquare.consent import gate
from townsquare.serve import index
from townsquare.serve.answers import Citation

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


def posts_in(table: pa.Table) -> list[Post]:
    """The posts of a table that has the columns NEEDED, less those without a text, and those edited since."""
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
