"""A handle that an opt-out list names, kept only as its one-way hash.

The hash has no salt, so that lists, squares and takedowns agree on it without a shared secret. It keeps a
handle from being read, not from being guessed by who has a list of handles. Handles change hands: the
hash stands beside the author's id, never in its place.
"""

from __future__ import annotations

import hashlib
import unicodedata

import polars as pl


def normalised(handle: str) -> str:
    """The form in which handles are compared: without @ and outer blanks, letters folded."""
    return unicodedata.normalize("NFKC", handle.strip().removeprefix("@").strip()).casefold()


def handle_key(network: str, handle: str) -> str:
    """How an event names an author of whom only the handle is known: `x:@` and 64 hex digits."""
    return f"{network}:@{hashlib.sha256(f'{network}:{normalised(handle)}'.encode()).hexdigest()}"


def is_handle_key(target: pl.Expr) -> pl.Expr:
    """Whether an event's target_author is a handle's hash."""
    return target.str.contains(r"^[a-z]+:@[0-9a-f]{64}$")


def handle_keys(network: pl.Expr, handle: pl.Expr) -> pl.Expr:
    """`handle_key` over columns; null where there is no handle. Each handle is hashed once."""
    return pl.struct(network.alias("network"), handle.alias("handle")).map_batches(_keys, return_dtype=pl.String)


def _keys(pairs: pl.Series) -> pl.Series:
    frame = pairs.struct.unnest()
    known = frame.unique().filter(pl.col("handle").str.strip_chars(" @").str.len_bytes() > 0)
    hashed = known.with_columns(
        key=pl.Series([handle_key(network, handle) for network, handle in known.iter_rows()], dtype=pl.String)
    )
    return frame.join(hashed, on=["network", "handle"], how="left", maintain_order="left")["key"]
