"""Bluesky's records as rows of ingest: posts, what an account says of itself as events, and the rest counted."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from townsquare.ingest.bluesky_posts import (
    POST,
    REPOST,
    SIGNED_IN_ONLY,
    UNREADABLE,
    Address,
    Author,
    address,
    labels_in,
    post_row,
    repost_row,
)
from townsquare.ingest.rows import Item, Origin, event, post, quarantine
from townsquare.ingest.shapes import a_dict, a_list
from townsquare.ingest.text import parse_time

PROFILE = "app.bsky.actor.profile"
INTENTS = ("org.user-intents.declaration", "org.user-intents.demo.declaration")
INTENT = "syntheticContentGeneration"
INTENT_SCOPES = ("train", "retrieve")  # "with generative AI, at any stage"; out of train is out of tune
GATES = {"app.bsky.feed.threadgate": "hiddenReplies", "app.bsky.feed.postgate": "detachedEmbeddingUris"}
NOT_TAKEN = {
    "app.bsky.feed.like": "like",
    REPOST: "repost",
    "app.bsky.graph.follow": "follow",
    "app.bsky.graph.block": "block",
    "app.bsky.graph.listitem": "listitem",
    PROFILE: "profile",
    **{collection: collection.rpartition(".")[2] for collection in GATES},
    **dict.fromkeys(INTENTS, "intent"),
}
"""Collections that fill a network's stream, by the name that the count of what was not taken gives them."""


@dataclasses.dataclass(frozen=True)
class Told:
    """Where something is said of an account, whose it is and when."""

    origin: Origin
    place: Any
    did: str
    at: dt.datetime | None

    def event(self, kind: str, *, reversible: bool = True, reason: str, **fields: Any) -> Item:
        """An event about the account, or about one post where `target_uid` is among the fields."""
        target = {} if "target_uid" in fields else {"target_author": f"bsky:{self.did}"}
        said = {"kind": kind, "reversible": reversible, "reason": reason, "event_at": self.at, "received_at": self.at}
        return event(self.origin, self.place, {**said, **target, **fields})

    def not_taken(self, name: str, detail: str | None = None, raw: Any = "") -> Item:
        """A quarantine row that counts what is no post: without its content, unless `raw` is given."""
        return quarantine(self.origin, self.place, f"not_taken:{name}", raw, detail=detail, author_id=self.did)


def made(told: Told, at: Address, given: Any, author: Author, grant: str | None) -> Item:
    """A post's or repost's row, seen at `told.at`; what is neither goes to quarantine under its own id."""
    build = post_row if at.collection == POST else repost_row
    row = build(at, a_dict(given), author, told.at)
    if row is not None:
        return post(told.origin, told.place, row[0], {**row[1], "grant_id": grant})
    if at.collection == REPOST and address(a_dict(a_dict(given).get("subject")).get("uri")):
        return told.not_taken(NOT_TAKEN[REPOST], "it shares what is no post")
    return quarantine(told.origin, told.place, "not_a_post", given, uid=at.uid, author_id=at.did)


def record_rows(told: Told, collection: str, record: dict[str, Any] | None) -> list[Item]:
    """What a record that is no post says of its account; `record` is None where it was taken away."""
    if collection == PROFILE:
        return [profile_event(told, record or {})]
    if collection in INTENTS and record is not None:
        return intent_events(told, record) or [told.not_taken("intent", "it neither allows nor refuses")]
    if collection in INTENTS:
        return [told.not_taken("intent", "it was taken back; a refusal stays until the author allows")]
    if collection in GATES and record is not None and (hidden := a_list(record.get(GATES[collection]))):
        detail = f"{GATES[collection]}: {len(hidden)}"
        return [told.not_taken(NOT_TAKEN[collection], detail, raw={GATES[collection]: hidden})]
    return [told.not_taken(NOT_TAKEN.get(collection, "other"), collection)]


def profile_event(told: Told, profile: dict[str, Any]) -> Item:
    """Posts of an account that asks to be shown to signed-in people alone are held back until it no longer does."""
    closed = not labels_in(profile.get("labels")).isdisjoint({SIGNED_IN_ONLY, UNREADABLE})
    return told.event("protect" if closed else "unprotect", reason="no_unauthenticated" if closed else "profile")


def intent(record: dict[str, Any]) -> str:
    """What a declaration says of generative AI: allow, deny or undefined. What is no clear yes is no yes."""
    said = next((record[key] for key in (INTENT, f"org.user-intents.{INTENT}") if key in record), None)
    allow = said.get("allow") if isinstance(said, dict) else said
    if allow is None:
        return "undefined"
    return "allow" if isinstance(said, dict) and allow is True else "deny"


def intent_events(told: Told, record: dict[str, Any]) -> list[Item]:
    """An opt-out, or its end, for each purpose that a declaration about generative AI speaks of."""
    kind = {"deny": "opt_out", "allow": "opt_in"}.get(intent(record))
    return [told.event(kind, reason="user_intent", scope=scope) for scope in INTENT_SCOPES] if kind else []


def declared(author: Author, collection: str, record: dict[str, Any], at: dt.datetime | None) -> Author:
    """The author with what one of the account's own records adds: its labels, or its intent."""
    if collection == PROFILE:
        return dataclasses.replace(author, labels=author.labels | labels_in(record.get("labels")))
    said = a_dict(record.get(INTENT)).get("updatedAt") or record.get("updatedAt")
    seen = at or parse_time(said)[0]
    return dataclasses.replace(author, intent=intent(record), intent_source=collection, intent_seen_at=seen)
