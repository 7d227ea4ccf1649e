"""How well the model foretells held-out posts: bits per UTF-8 byte, by our own decoder from the exported weights."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from townsquare.errors import StaleError
from townsquare.evaluate.cases import Cases, hashed
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Document, Outcome, Subject
from townsquare.square import Square

NAME = "bits_per_byte"
ABOUT = (
    "Bits that the model needs for each UTF-8 byte of held-out posts; less is better. n counts documents, drawn from "
    "all; the interval is over documents."
)
MOST = 1000
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Taken:
    """What one document took."""

    uid: str
    bits: float
    text_bytes: float


def run(subject: Subject) -> Outcome:
    """Score the test split, or the validation split where there is no other.

    Raises StaleError when there are no held-out shards, or they are of another vocabulary than the model's.
    """
    documents = subject.drawn(subject.documents("test", "validation"), MOST)
    taken = _taken(subject, documents)
    months, networks = _months_and_networks(subject.square, [one.uid for one in taken])
    seed = subject.config.seed
    return Outcome(
        _score(taken, seed),
        {
            "by_month": {month: _score(found, seed) for month, found in _grouped(taken, months)},
            "by_network": {network: _score(found, seed) for network, found in _grouped(taken, networks)},
        },
        cases=(
            Cases(
                NAME,
                tuple(hashed(one.uid) for one in taken),
                tuple(one.bits for one in taken),
                tuple(one.text_bytes for one in taken),
            ),
        ),
    )


def _taken(subject: Subject, documents: Sequence[Document]) -> list[Taken]:
    """A document longer than the model's longest row is cut; the first token of a later piece, which then has nothing
    before it, counts on neither side. So it is in training."""
    from townsquare.evaluate import weights
    from townsquare.tokens import tables

    decoder, sizes = subject.weights[0], tables.token_bytes(subject.square)
    longest = decoder.config.max_position_embeddings
    pieces = [
        (number, document.ids[start : start + longest])
        for number, document in enumerate(documents)
        for start in range(0, len(document.ids) - 1, longest)
    ]
    pieces = [(number, ids) for number, ids in pieces if len(ids) > 1]
    bits, text_bytes = [0.0] * len(documents), [0.0] * len(documents)
    readings = weights.read(decoder, [ids for _, ids in pieces], "Measuring bits per byte")
    for (number, ids), reading in zip(pieces, readings, strict=True):
        bits[number] += float(reading.bits.sum())
        text_bytes[number] += float(sizes[list(ids[1:])].sum())
    return [Taken(d.uid, *sums) for d, *sums in zip(documents, bits, text_bytes, strict=True)]


def _score(taken: Sequence[Taken], seed: int) -> dict[str, float | int]:
    return share(NAME, [one.bits for one in taken], [one.text_bytes for one in taken], seed=seed) | {"n": len(taken)}


def _grouped(taken: Sequence[Taken], names: dict[str, str]) -> list[tuple[str, list[Taken]]]:
    groups: dict[str, list[Taken]] = defaultdict(list)
    for one in taken:
        groups[names.get(one.uid, UNKNOWN)].append(one)
    return sorted(groups.items())


def _months_and_networks(square: Square, uids: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """uid -> YYYY-MM of the post (UTC), uid -> its network; a post that is not stored has neither."""
    from townsquare.ingest import tables

    try:
        posts = tables.read_posts(square, columns=["uid", "network", "created_at"])
    except StaleError:
        return {}, {}
    wanted = set(uids)
    rows = [row for row in posts.to_pylist() if row["uid"] in wanted]
    months = {row["uid"]: row["created_at"].strftime("%Y-%m") for row in rows if row["created_at"]}
    return months, {row["uid"]: row["network"] for row in rows}
