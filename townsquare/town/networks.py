"""Where people of the town post, and how each network names accounts and posts."""

from __future__ import annotations

import base64
import hashlib

NETWORK_OF = {"x_api_v2": "x", "x_archive": "x", "x_stream": "x", "bluesky": "bsky", "mastodon": "masto"}
"""The network behind each way in which posts come to a square."""
INSTANCE = "https://masto.example"
SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"


def account(network: str, number: int, handle: str) -> str:
    """An author's id there: X counts, Bluesky derives from keys, Mastodon gives an address."""
    if network == "bsky":
        digest = hashlib.sha256(f"account {number}".encode()).digest()
        return "did:plc:" + base64.b32encode(digest)[:24].decode().lower()
    return f"{INSTANCE}/users/{handle}" if network == "masto" else str(number)


def post_uid(network: str, author: str, post_id: int, *, repost: bool) -> str:
    """A post's uid, from its author's account and a number as X makes them."""
    if network == "bsky":
        return f"bsky:at://{author}/app.bsky.feed.{'repost' if repost else 'post'}/{tid(post_id)}"
    if network == "masto":
        return f"masto:{author}/statuses/{post_id}{'/activity' if repost else ''}"
    return f"x:{post_id}"


def tid(post_id: int) -> str:
    """A key as Bluesky makes them: microseconds and a clock's number in 13 digits that sort by time.

    The source is https://atproto.com/specs/tid; what an X id counts within a millisecond is spread over both.
    """
    ms, sequence = (post_id >> 22) + SNOWFLAKE_EPOCH_MS, post_id & 0x3FFFFF
    number = (ms * 1000 + sequence % 1000) << 10 | sequence // 1000 % 1024
    return "".join(TID_DIGITS[number >> 5 * place & 31] for place in range(12, -1, -1))
