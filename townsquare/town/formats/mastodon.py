"""Mastodon, as an instance's own activities: posts in HTML, boosts, deletions, accounts that refuse or end."""

from __future__ import annotations

from html import escape
from json.encoder import encode_basestring as quoted
from pathlib import Path

from townsquare.town.formats import Expected, Later, iso
from townsquare.town.networks import INSTANCE
from townsquare.town.posts import Post
from townsquare.town.world import DAY_MS, START_MS, Person, World

HOME = "mastodon"
NAME = "26-mastodon.jsonl"
CONTEXT = '"@context":"https://www.w3.org/ns/activitystreams"'
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
SHOWN = 30
"""Characters of a link that are shown; the rest is hidden by the page's style."""
LIKE_EVERY = 11


class Writer:
    """The posts of those on the instance, in the order in which they were sent out."""

    def __init__(self, folder: Path, world: World) -> None:
        self._file = (folder / NAME).open("w", encoding="utf-8", newline="\n")
        self._later = Later()
        self._expected = Expected(NAME, HOME)
        for person in world.by_network["masto"]:
            self._declare(person)

    def _declare(self, person: Person) -> None:
        """An account that does not want to be indexed, and one that ends for good."""
        actor = person.account
        if person.standing == "opted_out_train":
            ms = START_MS + 60 * DAY_MS
            profile = f'{{"id":"{actor}","type":"Person","preferredUsername":"{person.handle}","indexable":false}}'
            what = f'"id":"{actor}#updates/{ms // 1000}","type":"Update","actor":"{actor}","to":["{PUBLIC}"]'
            self._later.add(ms, f'{{{CONTEXT},{what},"object":{profile}}}')
        elif person.standing == "gone":
            ms = START_MS + 300 * DAY_MS
            what = f'"id":"{actor}#delete","type":"Delete","actor":"{actor}","published":"{iso(ms)}"'
            self._later.add(ms, f'{{{CONTEXT},{what},"object":"{actor}"}}')
        else:
            return
        self._expected.events += 1

    def post(self, post: Post) -> None:
        if post.person.home != HOME:
            return
        self._due(post.ms)
        self._write(_boost(post) if post.repost else _create(post))
        self._expected.kept += 1
        if post.deleted_ms:
            self._later.add(post.deleted_ms, _delete(post))
            self._expected.events += 1
        if post.id % LIKE_EVERY == 0:
            like = f'"id":"{post.person.account}#likes/{post.id}","type":"Like","actor":"{post.person.account}"'
            self._write(f'{{{CONTEXT},{like},"object":"{address(post)}"}}')
            self._expected.quarantined["not_taken"] = self._expected.quarantined.get("not_taken", 0) + 1

    def _due(self, ms: float) -> None:
        for line in self._later.until(ms):
            self._write(line)

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")

    def close(self) -> list[Expected]:
        self._due(float("inf"))
        self._file.close()
        return [self._expected]


def address(post: Post) -> str:
    """A post's id on the instance."""
    return post.uid.removeprefix("masto:")


def _audience(post: Post) -> str:
    followers = f"{post.person.account}/followers"
    mentioned = f',"{post.parent.person.account}"' if post.parent is not None else ""
    first, then = (f'"{followers}"', "") if post.private else (f'"{PUBLIC}"', f'"{followers}"')
    others = then + (mentioned if then else mentioned[1:])
    return f'"to":[{first}],"cc":[{others}]'


def _delete(post: Post) -> str:
    what = f'"id":"{address(post)}#delete","type":"Delete","actor":"{post.person.account}"'
    gone = f'{{"id":"{address(post)}","type":"Tombstone","deleted":"{iso(post.deleted_ms)}"}}'
    if post.repost is not None:
        gone = f'{{"id":"{address(post)}","type":"Announce","object":"{address(post.repost)}"}}'
        what = f'"id":"{address(post)}/undo","type":"Undo","actor":"{post.person.account}"'
    return f'{{{CONTEXT},{what},"published":"{iso(post.deleted_ms)}","to":["{PUBLIC}"],"object":{gone}}}'


def _boost(post: Post) -> str:
    assert post.repost is not None
    what = f'"id":"{address(post)}","type":"Announce","actor":"{post.person.account}","published":"{iso(post.ms)}"'
    return f'{{{CONTEXT},{what},{_audience(post)},"object":"{address(post.repost)}"}}'


def _create(post: Post) -> str:
    what = f'"id":"{address(post)}/activity","type":"Create","actor":"{post.person.account}"'
    return f'{{{CONTEXT},{what},"published":"{iso(post.ms)}",{_audience(post)},"object":{_note(post)}}}'


def _note(post: Post) -> str:
    parent = post.parent_uid
    before = "null" if parent is None else f'"{parent.removeprefix("masto:")}"'
    tags = ""
    if post.parent is not None:
        other = post.parent.person
        tags = f'{{"type":"Mention","href":"{other.account}","name":"@{other.handle}"}}'
    html = quoted(_html(post))
    quote = f'"quote":"{address(post.quote)}","quoteUri":"{address(post.quote)}",' if post.quote is not None else ""
    counts = ",".join(
        f'"{name}":{{"id":"{address(post)}/{name}","type":"Collection","totalItems":{count}}}'
        for name, count in (("replies", post.replies), ("likes", post.likes), ("shares", post.reposts))
    )
    return (
        f'{{"id":"{address(post)}","type":"Note","summary":null,"inReplyTo":{before},"published":"{iso(post.ms)}",'
        f'"url":"{INSTANCE}/@{post.person.handle}/{post.id}","attributedTo":"{post.person.account}",{_audience(post)},'
        f'"sensitive":false,"content":{html},"contentMap":{{"{post.lang}":{html}}},{quote}"attachment":[],'
        f'"tag":[{tags}],{counts}}}'
    )


def _html(post: Post) -> str:
    """The text as Mastodon renders it: a paragraph, links with hidden parts, the mention that a reply begins with."""
    text = escape(post.text, quote=False)
    for link in post.links:
        text = text.replace(escape(link, quote=False), _link(link), 1)
    if post.parent is not None:
        other: Person = post.parent.person
        text = (
            f'<span class="h-card" translate="no"><a href="{INSTANCE}/@{other.handle}" class="u-url mention">'
            f"@<span>{other.handle}</span></a></span> {text}"
        )
    return f"<p>{text}</p>"


def _link(link: str) -> str:
    shown = escape(link.removeprefix("https://"), quote=False)
    first, rest = shown[:SHOWN], shown[SHOWN:]
    style = ' class="ellipsis"' if rest else ' class=""'
    return (
        f'<a href="{escape(link)}" target="_blank" rel="nofollow noopener"><span class="invisible">https://</span>'
        f'<span{style}>{first}</span><span class="invisible">{rest}</span></a>'
    )
