"""Bluesky, as a Jetstream recording: what accounts post, repost, like and delete, and what becomes of accounts."""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring as quoted
from pathlib import Path

from townsquare.town.formats import Expected, Later, iso
from townsquare.town.networks import SNOWFLAKE_EPOCH_MS, tid
from townsquare.town.posts import Post
from townsquare.town.world import DAY_MS, START_MS, Person, World

HOME = "bluesky"
NAME = "24-bluesky_jetstream.jsonl"
POST, REPOST, LIKE = "app.bsky.feed.post", "app.bsky.feed.repost", "app.bsky.feed.like"
INTENT = "org.user-intents.declaration"
SHOWN = 24
"""Characters of a link that are shown in its place."""
LIKE_EVERY = 9


class Writer:
    """The posts of those on Bluesky, as the network told of them."""

    def __init__(self, folder: Path, world: World) -> None:
        self._file = (folder / NAME).open("w", encoding="utf-8", newline="\n")
        self._later = Later()
        self._expected = Expected(NAME, "bluesky_jetstream")
        self._known: set[str] = set()
        for person in world.by_network["bsky"]:
            self._declare(person)

    def _declare(self, person: Person) -> None:
        """What the account does to all of its posts: it refuses to train a model, or leaves."""
        if person.standing == "opted_out_train":
            ms = START_MS + 60 * DAY_MS
            said = f'"syntheticContentGeneration":{{"allow":false,"updatedAt":"{iso(ms)}"}}'
            record = f'{{"$type":"{INTENT}",{said}}}'
            self._later.add(ms, _commit(person, ms, (INTENT, "self"), record))
            self._expected.events += 2  # out of training, and out of being retrieved for an answer
        elif person.standing == "left":
            ms = START_MS + 300 * DAY_MS
            account = f'"active":false,"did":"{person.account}","seq":{ms},"status":"deactivated","time":"{iso(ms)}"'
            self._later.add(
                ms, f'{{"did":"{person.account}","time_us":{ms * 1000},"kind":"account","account":{{{account}}}}}'
            )
            self._expected.events += 1

    def post(self, post: Post) -> None:
        person = post.person
        if person.home != HOME:
            return
        self._due(post.ms)
        if person.account not in self._known:
            self._known.add(person.account)
            self._introduce(person, post.ms)
        at = (REPOST if post.repost else POST, tid(post.id))
        self._file.write(_commit(person, post.ms, at, _repost(post) if post.repost else _post(post)) + "\n")
        self._expected.kept += 1
        if post.deleted_ms:
            self._later.add(post.deleted_ms, _commit(person, post.deleted_ms, at, None))
            self._expected.events += 1
        if post.id % LIKE_EVERY == 0:
            like = f'{{"$type":"{LIKE}","createdAt":"{iso(post.ms)}","subject":{_reference(post)}}}'
            self._file.write(_commit(person, post.ms, (LIKE, tid(post.id + 1)), like) + "\n")
            self._not_taken("like")

    def _introduce(self, person: Person, ms: int) -> None:
        """Who is behind the account, which the network says before the first post."""
        identity = f'"did":"{person.account}","handle":"{handle(person)}","seq":{ms},"time":"{iso(ms)}"'
        self._file.write(
            f'{{"did":"{person.account}","time_us":{ms * 1000},"kind":"identity","identity":{{{identity}}}}}\n'
        )
        self._not_taken("identity")

    def _not_taken(self, what: str) -> None:
        reasons = self._expected.quarantined
        reasons[f"not_taken:{what}"] = reasons.get(f"not_taken:{what}", 0) + 1

    def _due(self, ms: float) -> None:
        for line in self._later.until(ms):
            self._file.write(line + "\n")

    def close(self) -> list[Expected]:
        self._due(float("inf"))
        self._file.close()
        return [self._expected]


def handle(person: Person) -> str:
    """A name of DNS, which has no underscores."""
    return f"{person.handle.lower().replace('_', '-')}.bsky.example"


def _commit(person: Person, ms: int, at: tuple[str, str], record: str | None) -> str:
    """A record made, or, without one, taken away."""
    collection, key = at
    what = "delete" if record is None else "create"
    made = "" if record is None else f',"record":{record},"cid":"{_cid(key)}"'
    rev = tid((ms - SNOWFLAKE_EPOCH_MS) << 22)
    commit = f'"rev":"{rev}","operation":"{what}","collection":"{collection}","rkey":"{key}"{made}'
    return f'{{"did":"{person.account}","time_us":{ms * 1000},"kind":"commit","commit":{{{commit}}}}}'


def _cid(key: str) -> str:
    return "bafyrei" + hashlib.sha256(key.encode()).hexdigest()[:52]


def _reference(post: Post) -> str:
    return f'{{"uri":"{post.uid.removeprefix("bsky:")}","cid":"{_cid(tid(post.id))}"}}'


def _repost(post: Post) -> str:
    assert post.repost is not None
    return f'{{"$type":"{REPOST}","createdAt":"{iso(post.ms)}","subject":{_reference(post.repost)}}}'


def _post(post: Post) -> str:
    text, facets = _words(post)
    more = f',"reply":{_reply(post)}' if post.parent_uid else ""
    if post.quote is not None:
        more += f',"embed":{{"$type":"app.bsky.embed.record","record":{_reference(post.quote)}}}'
    if facets:
        more += f',"facets":[{",".join(facets)}]'
    return f'{{"$type":"{POST}","createdAt":"{iso(post.ms)}","langs":["{post.lang}"],"text":{quoted(text)}{more}}}'


def _reply(post: Post) -> str:
    if post.parent is None:
        lost = f'{{"uri":"{str(post.parent_uid).removeprefix("bsky:")}","cid":"{_cid("lost")}"}}'
        return f'{{"root":{lost},"parent":{lost}}}'
    root = post.parent
    while root.parent is not None:
        root = root.parent
    return f'{{"root":{_reference(root)},"parent":{_reference(post.parent)}}}'


def _words(post: Post) -> tuple[str, list[str]]:
    """(text with links shortened as apps do, the facets that say where each leads, in bytes)."""
    text, facets = post.text, []
    for link in post.links:
        shown = link.removeprefix("https://")
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
        start = len(text[: text.index(link)].encode())
        text = text.replace(link, shown, 1)
        index = f'{{"byteStart":{start},"byteEnd":{start + len(shown.encode())}}}'
        facets.append(f'{{"index":{index},"features":[{{"$type":"app.bsky.richtext.facet#link","uri":"{link}"}}]}}')
    return text, facets
