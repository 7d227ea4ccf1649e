"""X's v1.1 stream, as collectors kept it: posts one a line with their author inside, and notices, gzipped."""

from __future__ import annotations

import gzip
from json.encoder import encode_basestring as quoted
from pathlib import Path

from townsquare.town.formats import Expected, Later, iso
from townsquare.town.formats.x_v11 import ctime, words
from townsquare.town.posts import Post
from townsquare.town.world import Person, World

HOME = "x_stream"
NAME = "22-x_stream.json.gz"
SHORT = 140
CUT_AT = 117
LIMIT_EVERY = 500
"""Posts between two notices that the stream left some out."""


class Writer:
    """The posts of those who were heard in the stream, with what they repeat and quote, and who deleted what."""

    def __init__(self, folder: Path, world: World) -> None:
        self._packed = (folder / NAME).open("wb")
        # No name and no time in the file: the same seed makes the same bytes.
        self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._packed, compresslevel=6, mtime=0)
        self._later = Later()
        self._expected = Expected(NAME, HOME)
        self._posts = 0

    def post(self, post: Post) -> None:
        if post.person.home != HOME:
            return
        self._due(post.ms)
        self._write(record(post, streamed=True))
        self._expected.kept += 1 + (post.repost is not None) + (post.quote is not None)
        if post.deleted_ms and post.deleted_early:
            status = f'"id":{post.id},"id_str":"{post.id}","user_id":{post.person.id},"user_id_str":"{post.person.id}"'
            notice = f'{{"delete":{{"status":{{{status}}},"timestamp_ms":"{post.deleted_ms}"}}}}'
            self._later.add(post.deleted_ms, notice)
        self._posts += 1
        if self._posts % LIMIT_EVERY == 1:
            self._write(f'{{"limit":{{"track":{self._posts},"timestamp_ms":"{post.ms}"}}}}')
            self._expected.quarantined["not_taken:limit"] = self._expected.quarantined.get("not_taken:limit", 0) + 1

    def _due(self, ms: float) -> None:
        for notice in self._later.until(ms):
            self._write(notice)
            self._expected.events += 1

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\r\n")

    def close(self) -> list[Expected]:
        self._due(float("inf"))
        self._file.close()
        self._packed.close()
        return [self._expected]


def record(post: Post, *, streamed: bool) -> str:
    """One post; `streamed` or inside one that is."""
    text, entities = words(post)
    inside = ""
    if post.repost is not None:
        inside = f',"retweeted_status":{record(post.repost, streamed=False)}'
    elif post.quote is not None:
        quote = post.quote
        inside = f',"quoted_status_id":{quote.id},"quoted_status_id_str":"{quote.id}"'
        if streamed:
            inside += f',"quoted_status":{record(quote, streamed=False)}'
    if streamed:
        inside += f',"timestamp_ms":"{post.ms}"'
    cut = len(text) > SHORT
    if cut:
        extended = f'"full_text":{quoted(text)},"display_text_range":[{_start(post)},{len(text)}],"entities":{entities}'
        inside += f',"extended_tweet":{{{extended}}}'
        text, entities = text[:CUT_AT].rstrip() + "…", '{"hashtags":[],"symbols":[],"user_mentions":[],"urls":[]}'
    return (
        f'{{"created_at":"{ctime(post.ms)}","id":{post.id},"id_str":"{post.id}","text":{quoted(text)},'
        f'"truncated":{"true" if cut else "false"},{_answer(post)}"user":{_user(post.person)},'
        f'"source":"<a href=\\"https://x.example\\" rel=\\"nofollow\\">Townsquare for Web</a>",'
        f'"is_quote_status":{"true" if post.quote else "false"},"quote_count":{post.quotes},'
        f'"reply_count":{post.replies},"retweet_count":{post.reposts},"favorite_count":{post.likes},'
        f'"entities":{entities},"favorited":false,"retweeted":false,"lang":"{post.lang}"{inside}}}'
    )


def _start(post: Post) -> int:
    """Where the words begin after the mention that a reply begins with."""
    return len(post.parent.person.handle) + 2 if post.parent is not None else 0


def _answer(post: Post) -> str:
    parent = post.parent
    if parent is None:
        lost = post.missing_parent
        return f'"in_reply_to_status_id":{lost},"in_reply_to_status_id_str":"{lost}",' if lost else ""
    return (
        f'"in_reply_to_status_id":{parent.id},"in_reply_to_status_id_str":"{parent.id}",'
        f'"in_reply_to_user_id":{parent.person.id},"in_reply_to_user_id_str":"{parent.person.id}",'
        f'"in_reply_to_screen_name":"{parent.person.handle}",'
    )


def _user(person: Person) -> str:
    return (
        f'{{"id":{person.id},"id_str":"{person.id}","name":{quoted(person.name)},"screen_name":"{person.handle}",'
        f'"protected":false,"verified":false,"created_at":"{iso(person.created_ms)}"}}'
    )
