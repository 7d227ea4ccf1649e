"""X API v2: newline-delimited pages of up to 100 posts, with the users, originals and errors that belong to them."""

from __future__ import annotations

from collections import Counter
from io import TextIOWrapper
from json.encoder import encode_basestring as quoted
from pathlib import Path

from townsquare.town.formats import Expected, escaped, iso, short_link
from townsquare.town.posts import Post
from townsquare.town.world import Person, World

HOME = "x_api_v2"
PAGE = 100
POSTS_A_FILE = 200_000
LONGEST = 280
CUT_AT = 272
APPS = ("Townsquare for Web", "Townsquare for Phone", "Townsquare for Tablet")
BROKEN_LINE = '{"data":[{"id":"1700000000000000003","text":"and then the connec'
"""What a collector leaves behind when it is stopped in the middle of a line."""


class Writer:
    """Pages of the posts of everyone whose posts are collected rather than donated."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder = folder
        self._file: TextIOWrapper | None = None
        self._expected: list[Expected] = []
        self._quarantined: Counter[str] = Counter()
        self._page: list[Post] = []
        self._in_file = 0
        self._users: dict[int, str] = {}

    def post(self, post: Post) -> None:
        if post.person.home == HOME:
            self._page.append(post)
            if len(self._page) == PAGE:
                self._write_page()

    def _write_page(self) -> None:
        if self._file is None or self._in_file >= POSTS_A_FILE:
            self._next_file()
        assert self._file is not None
        here = {post.id for post in self._page}
        originals = {p.repost.id: p.repost for p in self._page if p.repost is not None and p.repost.id not in here}
        people = {post.person.id: post.person for post in [*self._page, *originals.values()]}
        lost = [post.missing_parent for post in self._page if post.missing_parent and post.id % 2]
        parts = ['{"data":[', ",".join(map(record, self._page)), '],"includes":{"users":[']
        parts += [",".join(map(self._user, people.values())), "]"]
        if originals:
            parts += [',"tweets":[', ",".join(map(record, originals.values())), "]"]
        parts.append("}")
        if lost:
            parts += [',"errors":[', ",".join(map(_error, lost)), "]"]
        parts.append(
            f',"meta":{{"result_count":{len(self._page)},"newest_id":"{max(here)}","oldest_id":"{min(here)}"}}}}\n'
        )
        self._file.write("".join(parts))
        expected = self._expected[-1]
        expected.kept += len(self._page) + len(originals)
        if lost:
            expected.quarantined["unavailable"] = expected.quarantined.get("unavailable", 0) + len(lost)
        self._in_file += len(self._page)
        self._page.clear()

    def _next_file(self) -> None:
        if self._file is not None:
            self._file.close()
        name = f"20-x_api_v2-{len(self._expected) + 1:04d}.jsonl"
        self._file = (self._folder / name).open("w", encoding="utf-8", newline="\n")
        self._expected.append(Expected(name, HOME))
        self._in_file = 0

    def _user(self, person: Person) -> str:
        if person.id not in self._users:
            if len(self._users) > 50_000:
                self._users.clear()
            protected = "true" if person.standing == "protected" else "false"
            self._users[person.id] = (
                f'{{"id":"{person.id}","name":{quoted(person.name)},"username":"{person.handle}",'
                f'"created_at":"{iso(person.created_ms)}","protected":{protected},"verified":false}}'
            )
        return self._users[person.id]

    def close(self) -> list[Expected]:
        if self._page:
            self._write_page()
        if self._file is not None:
            self._file.write(BROKEN_LINE)
            self._expected[-1].quarantined["broken_json"] = 1
            self._file.close()
        return self._expected


def _error(lost: int) -> str:
    return (
        f'{{"resource_id":"{lost}","parameter":"referenced_tweets.id","resource_type":"tweet",'
        '"title":"Not Found Error","type":"https://api.twitter.com/2/problems/resource-not-found"}'
    )


def record(post: Post) -> str:
    """One post as the API gives it when everything was asked for."""
    text, entities = _text(post)
    fields = f'"id":"{post.id}","author_id":"{post.person.id}","created_at":"{iso(post.ms)}"'
    parent = post.parent
    references = ""
    if parent is not None:
        fields += f',"in_reply_to_user_id":"{parent.person.id}"'
        references = f'{{"type":"replied_to","id":"{parent.id}"}}'
    elif post.missing_parent:
        references = f'{{"type":"replied_to","id":"{post.missing_parent}"}}'
    if post.quote is not None:
        references += ("," if references else "") + f'{{"type":"quoted","id":"{post.quote.id}"}}'
    elif post.repost is not None:
        references = f'{{"type":"retweeted","id":"{post.repost.id}"}}'
    if references:
        fields += f',"referenced_tweets":[{references}]'
    history = '","'.join(map(str, post.history)) if post.history else post.id
    if len(text) > LONGEST:
        fields += f',"note_tweet":{{"text":{quoted(text)},"entities":{entities}}}'
        text, entities = text[:CUT_AT].rstrip() + "…", "{}"
    return (
        f'{{{fields},"conversation_id":"{post.root}","text":{quoted(text)},"entities":{entities},"lang":"{_lang(post)}",'
        f'"edit_history_tweet_ids":["{history}"],"possibly_sensitive":false,"source":"{APPS[post.person.index % 3]}",'
        f'"public_metrics":{{"retweet_count":{post.reposts},"reply_count":{post.replies},"like_count":{post.likes},'
        f'"quote_count":{post.quotes},"bookmark_count":{post.likes // 9},"impression_count":{40 + 31 * post.likes}}}}}'
    )


def _lang(post: Post) -> str:
    """What the network takes it for: short noise is undetermined."""
    return "und" if post.kind == "low_information" else post.lang


def _text(post: Post) -> tuple[str, str]:
    """(text, entities as JSON): escaped, links shortened, with the mention that a reply begins with."""
    text, urls, mentions = escaped(post.text), [], ""
    for number, link in enumerate(post.links):
        short = short_link(post, number)
        text = text.replace(link, short, 1)
        urls.append((short, link))
    if post.quote is not None:
        short = short_link(post, 9)
        text += f" {short}"
        urls.append((short, f"https://x.com/{post.quote.person.handle}/status/{post.quote.id}"))
    if post.parent is not None:
        handle = post.parent.person.handle
        text = f"@{handle} {text}"
        mentions = (
            f'"mentions":[{{"start":0,"end":{len(handle) + 1},"username":"{handle}","id":"{post.parent.person.id}"}}]'
        )
    if not urls:
        return text, f"{{{mentions}}}"
    found = ",".join(_url(text, short, link) for short, link in urls)
    return text, f'{{{mentions}{"," if mentions else ""}"urls":[{found}]}}'


def _url(text: str, short: str, link: str) -> str:
    start = text.find(short)
    shown = link.removeprefix("https://")
    return (
        f'{{"start":{start},"end":{start + len(short)},"url":"{short}","expanded_url":"{link}",'
        f'"display_url":"{shown[:26]}"}}'
    )
