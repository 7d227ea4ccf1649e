"""The tables that cross borders between stages, as Arrow schemas, and the few words their columns use.

Unknown is null, never zero and never an empty string. Every text column is UTF-8 without lone
surrogates or NUL. Timestamps are UTC, in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

UTC = pa.timestamp("us", tz="UTC")

NETWORKS = ("x", "bsky", "masto", "reddit", "hn", "table")
TEXT_STATUSES = ("full", "truncated", "note_joined", "html_stripped", "missing")
VISIBILITIES = (
    "public", "unlisted", "followers", "direct", "circle", "community", "protected", "unknown",
)  # fmt: skip
STATES = ("live", "suppressed", "deleted", "tombstone")
PURPOSES = ("train", "tune", "retrieve", "display")
SPLITS = ("train", "validation", "test")

EVENT_KINDS = (
    "delete", "author_delete", "author_undelete", "protect", "unprotect", "suspend", "unsuspend", "withheld",
    "drop", "undrop", "edit", "scrub_geo", "unlike", "repo_reset", "opt_out", "opt_in",
)  # fmt: skip

MEDIA = pa.struct(
    [("kind", pa.string()), ("url", pa.string()), ("alt", pa.string()), ("w", pa.int32()), ("h", pa.int32())]
)
LINK = pa.struct([("short", pa.string()), ("expanded", pa.string()), ("title", pa.string())])

POSTS = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # x:ID, bsky:at://…, masto:URL, reddit:t1_…, hn:ID, table:…
        pa.field("network", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),  # the ingest that brought it: a receipt's name
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("source_locator", pa.string(), nullable=False),  # member and line or item number
        pa.field("author_id", pa.string()),  # authoritative; a handle can change hands
        pa.field("author_handle", pa.string()),
        pa.field("author_kind", pa.string()),
        pa.field("created_at", UTC),
        pa.field("created_at_precision", pa.string()),  # us, ms, s, day, unknown
        pa.field("created_at_trust", pa.string()),  # server, client
        pa.field("observed_at", UTC),  # when text and counts were captured
        pa.field("text_raw", pa.string()),  # as received
        pa.field("text", pa.string()),  # unescaped once, links expanded, NFC, newlines kept
        pa.field("text_status", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("lang_source", pa.string()),  # platform, detected, client
        pa.field("reply_to", pa.string()),
        pa.field("reply_to_author", pa.string()),
        pa.field("conversation_root", pa.string()),
        pa.field("root_source", pa.string()),  # platform, derived, assumed
        pa.field("quote_of", pa.string()),
        pa.field("repost_of", pa.string()),
        pa.field("repost_of_author", pa.string()),  # set, with repost_of null, where the original is unknown
        pa.field("edit_of", pa.string()),
        pa.field("edit_history", pa.list_(pa.string())),
        pa.field("is_latest_edit", pa.bool_()),
        pa.field("likes", pa.int64()),
        pa.field("reposts", pa.int64()),
        pa.field("replies", pa.int64()),
        pa.field("quotes", pa.int64()),
        pa.field("views", pa.int64()),
        pa.field("bookmarks", pa.int64()),
        pa.field("score", pa.int64()),
        pa.field("upvote_ratio", pa.float64()),
        pa.field("media", pa.list_(MEDIA)),
        pa.field("links", pa.list_(LINK)),
        pa.field("source_app", pa.string()),
        pa.field("sensitive", pa.bool_()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("content_warning", pa.string()),
        pa.field("visibility", pa.string(), nullable=False),
        pa.field("withheld_countries", pa.list_(pa.string())),
        pa.field("withheld_copyright", pa.bool_()),
        pa.field("withheld_scope", pa.string()),
        pa.field("consent_intent", pa.string()),  # allow, deny, undefined
        pa.field("consent_source", pa.string()),
        pa.field("consent_seen_at", UTC),
        pa.field("grant_id", pa.string()),  # the grant named when it was ingested; the gate decides anew
        pa.field("state", pa.string(), nullable=False),
        pa.field("state_event_id", pa.string()),
    ]
)

EVENTS = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),  # derived from content: a replay is the same event
        pa.field("kind", pa.string(), nullable=False),
        pa.field("target_uid", pa.string()),
        pa.field("target_author", pa.string()),  # NETWORK:AUTHOR_ID
        pa.field("scope", pa.string()),  # all, or one purpose
        pa.field("reversible", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("event_at", UTC),
        pa.field("received_at", UTC),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("source_locator", pa.string(), nullable=False),
    ]
)

QUARANTINE = pa.schema(
    [
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("source_locator", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # a short fixed string, counted in the receipt
        pa.field("detail", pa.string()),
        pa.field("uid", pa.string()),  # where it could be read, so that a takedown reaches this copy too
        pa.field("author_id", pa.string()),
        pa.field("raw", pa.string()),  # the input as received, cut to 10,000 characters
    ]
)

SCORES = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float32())]))
"""No map: the `datasets` library reads none."""

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),  # the first post's uid
        pa.field("text", pa.string(), nullable=False),
        pa.field("uids", pa.list_(pa.string()), nullable=False),
        pa.field("author_id", pa.string()),
        pa.field("network", pa.string(), nullable=False),
        pa.field("created_at", UTC),
        pa.field("lang", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("scores", SCORES),
    ]
)

TURN = pa.struct([("role", pa.string()), ("text", pa.string()), ("uids", pa.list_(pa.string()))])

CONVERSATIONS = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),  # the root post's uid
        pa.field("turns", pa.list_(TURN), nullable=False),
        pa.field("uids", pa.list_(pa.string()), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # posts, or the name of a packaged data set
        pa.field("created_at", UTC),
        pa.field("lang", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("scores", SCORES),
    ]
)

PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("prompt", pa.list_(TURN), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("uids", pa.list_(pa.string()), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("scores", SCORES),
    ]
)

DROPPED = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
    ]
)

SHARD = (
    pa.schema(  # one row a document, conversation or preference pair; ids uint16 where the vocabulary fits, else uint32
        [
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("uids", pa.list_(pa.string()), nullable=False),
            pa.field("ids", pa.list_(pa.uint16()), nullable=False),
            pa.field("loss_mask", pa.list_(pa.bool_())),  # null: every token counts
        ]
    )
)


def shard_schema(vocabulary_size: int, *, pairs: bool = False) -> pa.Schema:
    """SHARD with ids as uint16 for a vocabulary of at most 65,536, else uint32.

    A row of `pairs` holds both conversations, the chosen one first; the other begins at `rejected_at`.
    """
    kind = pa.uint16() if vocabulary_size <= 1 << 16 else pa.uint32()
    index = SHARD.get_field_index("ids")
    schema = SHARD.set(index, pa.field("ids", pa.list_(kind), nullable=False))
    return schema.append(pa.field("rejected_at", pa.int64(), nullable=False)) if pairs else schema


def scores_of(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Scores as rows of the tables hold them."""
    return [{"name": name, "value": value} for name, value in values.items()]


def score(scores: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """One of a row's scores; null where the row has none of that name."""
    return next((float(entry["value"]) for entry in scores if entry["name"] == name), None)


def author_key(network: str, author_id: str) -> str:
    """How events, grants and takedowns name an author: `x:123`, `bsky:did:plc:…`."""
    return f"{network}:{author_id}"
