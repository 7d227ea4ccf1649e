"""X archives ("Download your data") that some authors donate: a zip of JavaScript files each, old and new layouts."""

from __future__ import annotations

import zipfile
from io import TextIOWrapper
from json.encoder import encode_basestring as quoted
from pathlib import Path

from townsquare.town.formats import Expected, escaped, iso
from townsquare.town.formats.x_v11 import ctime, words
from townsquare.town.posts import Post
from townsquare.town.world import START_MS, Person, World

HOME = "x_archive"
LONGEST = 280
CUT_AT = 270
LIKES_KEPT = 40
ZIP_TIME = (2024, 11, 5, 0, 0, 0)
PRIVATE = "a private message that nobody may ever read"
"""In every archive's direct messages: must never leave it."""


class Archive:
    """One donor's files while the town is written; posts wait in a file, the rest is small."""

    def __init__(self, person: Person, folder: Path) -> None:
        self.person = person
        self.path = folder / f".{person.handle}.tweets.js"
        self.file: TextIOWrapper = self.path.open("w", encoding="utf-8", newline="\n")
        self.file.write("window.YTD.tweets.part0 = [")
        self.tweets = 0
        self.notes: list[str] = []
        self.deleted: list[str] = []
        self.likes: list[str] = []


class Writer:
    """The posts of the donors, each in the donor's own archive."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder = folder
        donors = [person for person in world.people if person.home == HOME]
        self._archives = {person.index: Archive(person, folder) for person in donors}
        self._expected = {person.index: Expected(f"30-archive-{person.handle}.zip", HOME) for person in donors}
        self._donors = list(self._archives.values())
        self._seen = 0

    def post(self, post: Post) -> None:
        person = post.person
        if person.home != HOME:
            self._like(post)
            return
        archive, expected = self._archives[person.index], self._expected[person.index]
        if post.state == "absent":
            archive.deleted.append(_deleted(post))
            expected.events += 1
            return
        archive.file.write((",\n  " if archive.tweets else "\n  ") + self._tweet(post, archive))
        archive.tweets += 1
        if post.state == "quarantined":
            protected = person.protected_ms
            held = protected is not None and protected[0] <= post.ms < protected[1]
            reason = "protected_period" if held else "possible_circle_post"
            expected.quarantined[reason] = expected.quarantined.get(reason, 0) + 1
        else:
            expected.kept += 1

    def _like(self, post: Post) -> None:
        """Donors like what others write: those texts stand in their archives, and are not theirs to give."""
        self._seen += 1
        archive = self._donors[self._seen % len(self._donors)]
        if post.likes and len(archive.likes) < LIKES_KEPT:
            archive.likes.append(
                f'{{"like":{{"tweetId":"{post.id}","fullText":{quoted(post.text)},'
                f'"expandedUrl":"https://x.com/i/web/status/{post.id}"}}}}'
            )

    def _tweet(self, post: Post, archive: Archive) -> str:
        text, entities = words(post)
        if len(text) > LONGEST:
            archive.notes.append(
                f'{{"noteTweet":{{"noteTweetId":"{post.id + 1}","createdAt":"{iso(post.ms)}",'
                f'"updatedAt":"{iso(post.ms)}","core":{{"text":{quoted(text)},"urls":[],"mentions":[]}}}}}}'
            )
            text = text[:CUT_AT].rstrip() + "…"
        reply = ""
        if post.parent is not None:
            other = post.parent.person
            reply = (
                f'"in_reply_to_status_id_str":"{post.parent.id}","in_reply_to_status_id":"{post.parent.id}",'
                f'"in_reply_to_user_id_str":"{other.id}","in_reply_to_screen_name":"{other.handle}",'
            )
        elif post.missing_parent:
            reply = f'"in_reply_to_status_id_str":"{post.missing_parent}",'
        return (
            f'{{"tweet":{{"edit_info":{{"initial":{{"editTweetIds":["{post.id}"],"editsRemaining":"5",'
            f'"editableUntil":"{iso(post.ms + 3_600_000)}","isEditEligible":false}}}},'
            f'"id":"{post.id}","id_str":"{post.id}",'
            f'"created_at":"{ctime(post.ms)}","full_text":{quoted(text)},"display_text_range":["0","{len(text)}"],'
            f'{reply}"lang":"{post.lang}","truncated":false,"favorite_count":"{post.likes}",'
            f'"retweet_count":"{post.reposts}","retweeted":false,"favorited":false,'
            f'"source":"<a href=\\"https://x.example\\" rel=\\"nofollow\\">Townsquare for Web</a>",'
            f'"entities":{entities}}}}}'
        )

    def close(self) -> list[Expected]:
        for index, archive in self._archives.items():
            archive.file.write("\n]\n")
            archive.file.close()
            self._zip(archive, self._folder / self._expected[index].name)
            archive.path.unlink()
        return list(self._expected.values())

    def _zip(self, archive: Archive, path: Path) -> None:
        person = archive.person
        account = (
            f'[{{"account":{{"email":"{person.handle.lower()}@example.org","createdVia":"web",'
            f'"username":"{person.handle}","accountId":"{person.id}","createdAt":"{iso(person.created_ms)}",'
            f'"accountDisplayName":{quoted(person.name)}}}}}]'
        )
        small = {
            "account": account,
            "note_tweet": _array(archive.notes),
            "deleted_tweets": _array(archive.deleted),
            "like": _array(archive.likes),
            "twitter_circle": _array(
                [
                    f'{{"twitterCircle":{{"id":"1{person.id}","ownerUserId":"{person.id}","createdAt":"{iso(START_MS)}"}}}}'
                ]
                if person.circle
                else []
            ),
            "protected_history": _array(_protected(person)),
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
            if person.index % 8 == 2:
                _member(target, "data/manifest.js", _manifest(archive))
            for name, body in small.items():
                _member(target, f"data/{name.replace('_', '-')}.js", f"window.YTD.{name}.part0 = {body}")
            _member(target, "data/direct-messages.js", _messages())
            with target.open(_info("data/tweets.js"), "w") as member, archive.path.open("rb") as source:
                while block := source.read(1 << 20):
                    member.write(block)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _member(target: zipfile.ZipFile, name: str, text: str) -> None:
    target.writestr(_info(name), text.encode())


def _array(items: list[str]) -> str:
    return "[ " + ",\n  ".join(items) + " ]"


def _messages() -> str:
    message = f'{{"messageCreate":{{"text":"{PRIVATE}"}}}}'
    conversation = f'{{"dmConversation":{{"conversationId":"1-2","messages":[{message}]}}}}'
    return f"window.YTD.direct_messages.part0 = [{conversation}]"


def _manifest(archive: Archive) -> str:
    person = archive.person
    file = f'{{"fileName":"data/tweets.js","globalName":"YTD.tweets.part0","count":"{archive.tweets}"}}'
    user = f'{{"accountId":"{person.id}","userName":"{person.handle}"}}'
    return f'window.__THAR_CONFIG = {{"userInfo":{user},"dataTypes":{{"tweets":{{"files":[{file}]}}}}}}'


def _protected(person: Person) -> list[str]:
    if person.protected_ms is None:
        return []
    changes = zip(person.protected_ms, ("Protect", "Unprotect"), strict=True)
    return [f'{{"protectedHistory":{{"protectedAt":"{iso(ms)}","action":"{action}"}}}}' for ms, action in changes]


def _deleted(post: Post) -> str:
    return (
        f'{{"tweet":{{"id_str":"{post.id}","id":"{post.id}","created_at":"{ctime(post.ms)}",'
        f'"deleted_at":"{ctime(post.deleted_ms)}","full_text":{quoted(escaped(post.text))},"lang":"{post.lang}"}}}}'
    )
