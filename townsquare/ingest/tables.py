"""The public door: posts, events and quarantine as later stages read them, and events as takedown writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.consent import declarations, gate, opt_outs
from townsquare.consent.gate import Consent
from townsquare.errors import StaleError
from townsquare.ingest import events as event_states
from townsquare.ingest import held_back, removed, store
from townsquare.receipts import Input
from townsquare.square import Square
from townsquare.traces import Texts, Traces, held, telling

if TYPE_CHECKING:
    from lance import LanceDataset

BATCH_ROWS = 1 << 16


def posts_dataset(square: Square) -> LanceDataset:
    """The posts table itself. Raises StaleError when nothing was ingested yet."""
    return store.dataset(square, "posts")


def read_posts(square: Square, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
    """Posts (records.POSTS, or some columns), sorted by uid; `where` is an SQL condition on columns."""
    wanted = None if columns is None else list(dict.fromkeys(["uid", *columns]))
    table = store.read(square, "posts", wanted, where).sort_by("uid")
    return table if columns is None else table.select(list(columns))


def read_events(square: Square) -> pa.Table:
    """All events (records.EVENTS), sorted by id."""
    return store.read(square, "events").sort_by("event_id")


def read_quarantine(square: Square) -> pa.Table:
    """All quarantined inputs (records.QUARANTINE), sorted by where they came from."""
    by_place = [("source_id", "ascending"), ("source_locator", "ascending")]
    return store.read(square, "quarantine").sort_by(by_place)


def read_consent(square: Square) -> Consent:
    """What every use of a post is held against: grants, exclusions, opt-outs and authors' declarations, as of now."""
    kinds = ", ".join(f"'{kind}'" for kind in opt_outs.KINDS)
    events = store.read(square, "events", opt_outs.READS, f"kind IN ({kinds})")
    declared = store.read(square, "posts", declarations.READS, declarations.SAID)
    return gate.consent_of(square, events, declared)


def ensure(square: Square) -> None:
    """Make the tables, empty, where there are none yet."""
    store.ensure(square)


def posts_input(square: Square) -> Input:
    """The posts as an input of a later stage: all ingests' fingerprints together.

    A takedown does not change it, for it rewrites every later copy itself. Raises StaleError when
    nothing was ingested yet.
    """
    fingerprints = sorted(receipt.fingerprint for receipt in receipts.read_all(square, "ingest"))
    if not fingerprints:
        raise StaleError("there are no posts in this square yet", remedy="Run first: townsquare ingest PATH")
    return Input("posts", hashlib.sha256("\n".join(fingerprints).encode()).hexdigest())


def upsert_events(square: Square, table: pa.Table) -> None:
    """Record events (records.EVENTS), before or after the posts they name. A replay changes nothing."""
    ensure(square)
    store.put_first(square, "events", table)


def apply_events(square: Square) -> dict[str, int]:
    """Bring every post into the state that the events give it; returns how many changed, by new state."""
    ensure(square)
    return event_states.apply(square)


def removed_uids(square: Square) -> frozenset[str]:
    """Every post that no copy may hold now: its state in the posts table is not live."""
    gone = posts_dataset(square).to_table(columns=["uid"], filter="state <> 'live'")
    return frozenset(gone["uid"].to_pylist())


def sources_of_removed(square: Square) -> dict[str, int]:
    """How many of those posts each ingest brought. Its files, which lie elsewhere, hold them still."""
    gone = posts_dataset(square).to_table(columns=["source_id"], filter="state <> 'live'")
    counts = gone["source_id"].value_counts().to_pylist()
    return dict(sorted((row["values"], row["counts"]) for row in counts))


def traces_of_removed(square: Square) -> Traces:
    """What posts that no copy may hold said: of deleted posts as remembered, of suppressed ones as they stand.

    Left out is what a live post also says. That may rightly stand in a copy, so it proves nothing.
    """
    says = list(removed.SAYS)
    kept = posts_dataset(square).to_table(columns=["uid", *says], filter="state = 'suppressed'")
    parts = [telling(kept["uid"].to_pylist(), kept[name].to_pylist()) for name in says]
    traces = Traces.joined([removed.remembered(square), *parts])
    if not len(traces):
        return traces
    others = np.zeros(len(traces), bool)
    for batch in posts_dataset(square).to_batches(columns=says, filter="state = 'live'", batch_size=BATCH_ROWS):
        differs = pc.fill_null(pc.not_equal(batch["text"], batch["text_raw"]), True)
        others |= held(batch["text"], traces) | held(batch["text_raw"].filter(differs), traces)
    return traces.take(~others)


def quotes_cut(square: Square) -> frozenset[str]:
    """Live posts from which the words of a deleted post were cut; copies elsewhere may still hold those words."""
    return removed.quotes_cut(square)


def forget_cut(square: Square) -> None:
    """Tell that no copy elsewhere holds words that were cut."""
    removed.forget_cut(square)


def events_against(square: Square, kinds: Mapping[str, str]) -> list[str]:
    """Ids of stored events about these targets (uid or author key: kind) that undo an event of that kind."""
    if not store.path(square, "events").is_dir():
        return []
    family = {kind: name for kind, (name, _) in event_states.FAMILIES.items()}
    events = read_events(square).select(["event_id", "kind", "target_uid", "target_author"])
    named = pa.array(sorted(kinds), pa.string())
    about = pc.or_(*(pc.is_in(events[column], named) for column in ("target_uid", "target_author")))
    return sorted(
        row["event_id"]
        for row in events.filter(about).to_pylist()
        for target in (row["target_uid"], row["target_author"])
        if target in kinds and row["kind"] != kinds[target] and family.get(row["kind"]) == family[kinds[target]]
    )


def blank_quarantined(square: Square, texts: Texts) -> int:
    """Empty the quarantined inputs that hold one of the texts; returns how many rows were."""
    return held_back.blank_texts(square, texts)
