"""X's compliance data: a stream of events that arrive before the posts, and a batch result that comes after."""

from __future__ import annotations

from pathlib import Path

from townsquare.town.formats import Expected, iso
from townsquare.town.posts import Post
from townsquare.town.world import DAY_MS, DAYS, START_MS, Person, World

STREAM, BATCH = "10-x_compliance_stream.jsonl", "50-x_compliance_tweets.jsonl"
GEO_SHARE = 97
"""One post in so many has its place removed: the batch calls that a deletion too, and it must not be one."""
STANDINGS = {
    "suspended": ("user_suspend",),
    "left": ("user_delete",),
    "protects_later": ("user_protect",),
    "protected_for_a_while": ("user_protect", "user_unprotect"),
}


class Writer:
    """Early deletions, edits and what befell authors go to the stream; late deletions to the batch result."""

    def __init__(self, folder: Path, world: World) -> None:
        self._stream = (folder / STREAM).open("w", encoding="utf-8")
        self._batch = (folder / BATCH).open("w", encoding="utf-8")
        self._expected = {name: Expected(name, "x_compliance") for name in (STREAM, BATCH)}
        for person in world.by_network["x"]:
            for step, name in enumerate(STANDINGS.get(person.standing, ())):
                self._author(person, name, START_MS + (40 + 60 * step) * DAY_MS)
        # An event whose post never comes: deleted before anyone collected it.
        self._event(f'{{"delete":{{"tweet":{{"id":"1700000000000000001","author_id":"{world.people[0].id}"}}', START_MS)
        self._row("1700000000000000002", "deleted", START_MS + DAYS * DAY_MS)

    def post(self, post: Post) -> None:
        if post.person.network != "x":
            return
        if post.history and post.history[-1] == post.id:
            ids = ",".join(f'"{i}"' for i in post.history)
            body = (
                f'"tweet":{{"id":"{post.history[0]}"}},"initial_tweet_id":"{post.history[0]}","edit_tweet_ids":[{ids}]'
            )
            self._event(f'{{"tweet_edit":{{{body}', post.ms)
        if post.deleted_ms and post.deleted_early and post.person.home == "x_api_v2":
            body = f'{{"delete":{{"tweet":{{"id":"{post.id}","author_id":"{post.person.id}"}}'
            self._event(body, post.deleted_ms)
        elif post.deleted_ms and not post.deleted_early:
            self._row(str(post.id), "deleted", post.deleted_ms)
        elif post.id % GEO_SHARE == 0 and not post.deleted_ms:
            self._row(str(post.id), "scrub_geo", post.ms + 5 * DAY_MS)

    def _author(self, person: Person, name: str, ms: int) -> None:
        self._event(f'{{"{name}":{{"user":{{"id":"{person.id}"}}', ms)

    def _event(self, start: str, ms: int) -> None:
        self._stream.write(f'{{"data":{start},"event_at":"{iso(ms)}"}}}}}}\n')
        self._expected[STREAM].events += 1

    def _row(self, post_id: str, reason: str, ms: int) -> None:
        made = iso(ms - DAY_MS)
        line = f'"action":"delete","created_at":"{made}","redacted_at":"{iso(ms)}","reason":"{reason}"'
        self._batch.write(f'{{"id":"{post_id}",{line}}}\n')
        self._expected[BATCH].events += 1

    def close(self) -> list[Expected]:
        self._stream.close()
        self._batch.close()
        return list(self._expected.values())
