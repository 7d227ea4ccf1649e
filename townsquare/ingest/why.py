"""Why one post may be used for a purpose, or may not: everything stored that the gate's rules spoke by."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.consent import gate, handles, why
from townsquare.consent.why import Spoken
from townsquare.errors import InputError
from townsquare.ingest import store, tables
from townsquare.square import Square


def ask(square: Square, uid: str, purpose: str, at: dt.date) -> list[Spoken]:
    """Every rule on the post, those that refuse it and those that do not; quarantined inputs of it come first.

    Raises InputError when nothing of that uid was ever seen here, StaleError when nothing was ingested yet.
    """
    name = "'" + uid.replace("'", "''") + "'"
    columns = [*gate.COLUMNS, *why.ASKED, "edit_history"]
    post = store.dataset(square, "posts").to_table(columns=columns, filter=f"uid = {name}")
    quarantined = store.dataset(square, "quarantine").to_table(filter=f"uid = {name}").to_pylist()
    spoken = [why.held_back(row, here=len(post) > 0) for row in quarantined]
    if not len(post):
        deletes = f"target_uid = {name} AND kind = 'delete' AND NOT reversible"
        spoken += [why.gone(row) for row in store.dataset(square, "events").to_table(filter=deletes).to_pylist()]
    if not len(post) and not spoken:
        raise InputError(f"there is no post {uid} here", remedy="Write it as x:1626922779105759235; see also: lookup.")
    if len(post):
        spoken += why.why(post, tables.read_consent(square), purpose, at, _events(square, post))
    return spoken


def _events(square: Square, post: pa.Table) -> list[dict[str, object]]:
    """The events that name the post, its author, its original or another version of it."""
    row = post.to_pylist()[0]
    network = row["network"]
    targets = {row["uid"], row["repost_of"], *(row["edit_history"] or [])}
    for who in (row["author_id"], row["repost_of_author"]):
        targets |= {f"{network}:{who}"} if who else set()
    for handle in (row["author_handle"], row["repost_of_author"]):
        targets |= {handles.handle_key(network, handle)} if handle else set()
    events = store.dataset(square, "events").to_table()
    named = pa.array(sorted(targets - {None}), pa.string())
    about = [pc.fill_null(pc.is_in(events[name], named), False) for name in ("target_uid", "target_author")]
    about.append(pc.equal(events["event_id"], row["state_event_id"] or ""))
    found: list[dict[str, object]] = events.filter(pc.or_(pc.or_(about[0], about[1]), about[2])).to_pylist()
    return found
