"""Reply mode: a thread that mentions the assistant -> its reply, the posts that it rests on, and the consent check.

The thread goes through the same doors as any source, into a square of its own that lasts as long as this does:
nothing of it is stored, indexed or learned from. Its posts are data, as every post is.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from townsquare.consent import gate
from townsquare.errors import InputError
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.model.chat import Turn
from townsquare.serve import index
from townsquare.serve.answers import Answer, Citation
from townsquare.serve.tally import Tally
from townsquare.square import Square

LONGEST = {"x": 280, "bsky": 300, "masto": 500}
"""Characters of a post by network; elsewhere a reply is cut to the shortest of these."""
LARGEST_THREAD_BYTES = 16 << 20
NEVER = ("deleted", "suppressed", "opted_out", "excluded", "denied_by_author")
"""The gate's rules that speak of an author's or owner's will, and not of a grant: whoever asks needs none."""
SEEN_BY_ALL = ("public", "unlisted")
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"


class Answering(Protocol):
    """What this asks of the assistant."""

    def answer(self, messages: Sequence[Turn]) -> Answer:
        """The whole answer to the last turn."""
        ...


@dataclasses.dataclass(frozen=True)
class Reply:
    """What to post, or why nothing may be."""

    in_reply_to: str
    """The uid of the post that mentions the assistant."""
    text: str | None
    """Short enough for the network; None: do not reply."""
    why_not: str | None
    """Why not: not_public, or a rule of the gate."""
    citations: tuple[Citation, ...] = ()
    """Each was allowed to be retrieved and displayed when the reply was made."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(uid, rule) of earlier posts of the thread that the assistant was not given."""
    found: bool = False
    as_of: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "left_out": dict(self.left_out)}


def reply(square: Square, assistant: Answering, path: Path, handle: str) -> Reply:
    """The reply to the thread's last post that mentions `handle`. Raises InputError where none does."""
    handle = handle.removeprefix("@").lower()
    table = read_thread(path)
    posts = {post["uid"]: post for post in table.to_pylist()}
    mentioning = [post for post in posts.values() if _mentions(post, handle) and not _own(post, handle)]
    if not mentioning:
        raise InputError(f"no post here mentions @{handle}", place=str(path), remedy="Name the assistant's own handle.")
    asking = max(mentioning, key=lambda post: (str(post["created_at"] or ""), post["uid"]))
    will = refused(square, table)
    if asking["visibility"] not in SEEN_BY_ALL:
        return Reply(asking["uid"], None, "not_public")
    if asking["uid"] in will:
        return Reply(asking["uid"], None, will[asking["uid"]])
    chain = _chain(posts, asking)
    turns = [_turn(post, handle) for post in chain if post["uid"] not in will and post["text"]]
    answer = assistant.answer(turns)
    tally = Tally(square)
    tally.count(answer)
    tally.record()
    text, cited = _fitting(answer, LONGEST.get(asking["network"], min(LONGEST.values())))
    left_out = tuple((post["uid"], will[post["uid"]]) for post in chain if post["uid"] in will)
    return Reply(asking["uid"], text, None, cited, left_out, answer.found, answer.as_of)


def read_thread(path: Path) -> pa.Table:
    """A thread's posts: X API v2, Bluesky's getPostThread, Mastodon's statuses or activities. Raises InputError."""
    if not path.is_file():
        raise InputError("there is no such file", place=str(path), remedy="Mend the path.")
    if path.stat().st_size > LARGEST_THREAD_BYTES:
        raise InputError(
            f"a thread is at most {LARGEST_THREAD_BYTES:,} bytes", place=str(path), remedy="Give one thread alone."
        )
    with tempfile.TemporaryDirectory(prefix="townsquare-thread-") as folder:
        square, source = Square.create(Path(folder) / "square"), path
        if notes := _as_activities(path):
            source = Path(folder) / "thread.jsonl"
            source.write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")
        ingest(square, IngestConfig(paths=(source,), name="thread"))
        return tables.read_posts(square)


def refused(square: Square, posts: pa.Table) -> dict[str, str]:
    """Uid -> the first rule by which an author's or owner's will keeps a post from the assistant."""
    consent, day = tables.read_consent(square), gate.today()
    found: dict[str, str] = {}
    for row in range(len(posts)):
        rules = gate.judgements(posts.slice(row, 1), consent, "retrieve", day)
        if rule := next((name for name in NEVER if rules.get(name)), None):
            found[posts["uid"][row].as_py()] = rule
    where = f"state <> 'live' AND uid IN ({index.quoted(posts['uid'].to_pylist())})"
    gone = tables.read_posts(square, columns=["uid"], where=where)["uid"].to_pylist() if len(posts) else []
    return dict.fromkeys(gone, "deleted") | found


def _as_activities(path: Path) -> list[dict[str, Any]]:
    """Statuses of Mastodon's API as the notes that its export holds; none where the file is something else."""
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return []
    parts = record if isinstance(record, list) else [record]
    if isinstance(record, dict) and {"ancestors", "descendants"} & record.keys():
        status = record.get("status")
        parts = [*(record.get("ancestors") or []), *([status] if status else []), *(record.get("descendants") or [])]
    statuses = [part for part in parts if isinstance(part, dict) and isinstance(part.get("account"), dict)]
    uris = {status.get("id"): status.get("uri") for status in statuses}
    return [_note(status, uris) for status in statuses if isinstance(status.get("uri"), str)]


def _note(status: dict[str, Any], uris: dict[Any, Any]) -> dict[str, Any]:
    who = status["account"].get("uri") or status["account"].get("url")
    audience = {
        "public": ([PUBLIC], [f"{who}/followers"]),
        "unlisted": ([f"{who}/followers"], [PUBLIC]),
        "private": ([f"{who}/followers"], []),
    }
    to, cc = audience.get(str(status.get("visibility")), ([], []))
    return {
        "type": "Note", "id": status["uri"], "url": status.get("url"), "attributedTo": who,
        "content": status.get("content"), "published": status.get("created_at"), "to": to, "cc": cc,
        "inReplyTo": uris.get(status.get("in_reply_to_id")), "sensitive": status.get("sensitive"),
        "summary": status.get("spoiler_text") or None,
    }  # fmt: skip


def _mentions(post: dict[str, Any], handle: str) -> bool:
    return bool(_mention(handle).search(post["text"] or ""))


def _mention(handle: str) -> re.Pattern[str]:
    """How the assistant is named in a post: whole, or, on Mastodon, without its server."""
    local = re.escape(handle.partition("@")[0])
    return re.compile(rf"(?<![\w@.])@(?:{re.escape(handle)}|{local}(?:@[\w.-]+)?)(?![\w@-]|\.\w)", re.IGNORECASE)


def _own(post: dict[str, Any], handle: str) -> bool:
    theirs = (post["author_handle"] or "").removeprefix("@").lower()
    return bool(theirs) and theirs in (handle, handle.partition("@")[0])


def _chain(posts: dict[str, dict[str, Any]], last: dict[str, Any]) -> list[dict[str, Any]]:
    """What the post replies to and so on, oldest first, and itself."""
    chain = [last]
    while (before := posts.get(chain[0]["reply_to"])) and before not in chain:
        chain.insert(0, before)
    return chain


def _turn(post: dict[str, Any], handle: str) -> Turn:
    said = " ".join(_mention(handle).sub(" ", post["text"]).split())
    return ("assistant" if _own(post, handle) else "user"), said


def _fitting(answer: Answer, longest: int) -> tuple[str, tuple[Citation, ...]]:
    """As many sentences as fit, whole, with the first post's address where there is room; and what they cite."""
    kept, text = [answer.sentences[0]], answer.sentences[0].text
    for sentence in answer.sentences[1:]:
        if len(text) + 1 + len(sentence.text) > longest:
            break
        kept.append(sentence)
        text += " " + sentence.text
    if len(text) > longest:
        text = text[: longest - 1].rsplit(" ", 1)[0] + "…"
    numbers = {number for sentence in kept for number in sentence.citations}
    cited = tuple(citation for citation in answer.citations if citation.number in numbers)
    address = next((citation.url for citation in cited if citation.url), None)
    if address and len(text) + 1 + len(address) <= longest:
        text += "\n" + address
    return text, cited
