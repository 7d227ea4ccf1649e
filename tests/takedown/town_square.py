"""A square that holds the town's posts in every copy, and one post in it to be taken down."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from townsquare.consent.grants import add_grant
from townsquare.curate import tables as corpus
from townsquare.curate.config import CurateConfig
from townsquare.curate.run import run as curate
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.serve.config import IndexConfig
from townsquare.serve.run import run as build_index
from townsquare.square import Square, write_atomically, write_json
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.run import run as make_shards
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as make_town
from townsquare.traces import SHORTEST

POSTS = 400
STEPS = 5


def build(root: Path) -> Square:
    """From the town to the index: every stage that keeps a copy, and a run and its model that saw all of it."""
    square = Square.create(root)
    make_town(square, TownConfig(posts=POSTS))
    add_grant(square, town.grant(square))
    for path in (*town.source_paths(square), _comments(root.parent / "RC_2024-01.jsonl")):
        ingest(square, IngestConfig(paths=(path,)))
    curate(square, CurateConfig())
    make_shards(square, TokensConfig(vocabulary_size=512))
    build_index(square, IndexConfig())
    documents = corpus.read_documents(square)["uids"].to_pylist()
    a_run_that_saw(square, "first", dict.fromkeys(sorted({uid for uids in documents for uid in uids}), 0))
    return square


def comment(number: int, text: str, **fields: Any) -> str:
    """A line of Reddit's dumps, which the town does not write."""
    said = {"id": f"c{number}", "author": f"Gardener{number}", "author_fullname": f"t2_g{number}", "body": text}
    return json.dumps(
        {**said, "created_utc": 1704103200 + number, "link_id": "t3_root", "parent_id": "t3_root", **fields}
    )


def _comments(path: Path) -> Path:
    said = (
        "The allotment gate opens at seven in summer, and the water is turned on a week before",
        "My neighbour grows leeks behind the old glasshouse and swears by wood ash in the autumn",
        "We moved our compost heap twice this year because the robins had built a nest in it",
    )
    path.write_text("".join(comment(n, text) + "\n" for n, text in enumerate(said)), encoding="utf-8")
    return path


def a_run_that_saw(square: Square, name: str, first_steps: Mapping[str, int]) -> None:
    """What training leaves behind for a takedown to read: the lineage, a checkpoint's name, and an export of it."""
    steps = pa.array(list(first_steps.values()), pa.int64())
    lineage = pa.table({"uid": list(first_steps), "first_step": steps})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, lineage.schema) as writer:
        writer.write_table(lineage)
    folder = square.runs / name
    (folder / "checkpoints" / f"step-{STEPS:08}").mkdir(parents=True)
    write_atomically(folder / "lineage.arrow", sink.getvalue())
    write_json(folder / "setup.json", {"start_from": None})
    write_json(square.models / f"{name}-export" / "export.json", {"run": name})


def victim(square: Square) -> tuple[str, str]:
    """(uid, text) of a post that stands in a document, a conversation, a pair, the shards and the index; and
    whose text is nobody else's, and is long enough to be searched for."""
    live = tables.read_posts(square, ["uid", "text"], "state = 'live' AND text IS NOT NULL").to_pylist()
    said = [row["text"] for row in live]
    held = [
        {uid for uids in table["uids"].to_pylist() for uid in uids}
        for table in (corpus.read_documents(square), corpus.read_conversations(square), corpus.read_pairs(square))
    ]
    return next(
        (row["uid"], row["text"])
        for row in live
        if len(row["text"]) >= 2 * SHORTEST
        and row["text"].isascii()
        and not any(mark in row["text"] for mark in "@&\n")
        and sum(row["text"] in text for text in said) == 1
        and all(row["uid"] in uids for uids in held)
    )


def taken_down(square: Square, uid: str) -> None:
    """The post out of every copy, proven."""
    receipt = run(square, TakedownConfig(post=(uid,)))
    assert receipt.results["left"] == 0


def everything_on_disk(square: Square) -> str:
    """The bytes of every file but the town's own sources and truth, which are its supplier's."""
    files = [p for p in sorted(square.root.rglob("*")) if p.is_file() and square.town not in p.parents]
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)


def rows_of_receipts(square: Square) -> dict[str, Any]:
    """What the receipts of the stages say that is there now."""
    return {
        name: json.loads((square.receipts / f"{name}.json").read_text())["results"]["revised"]
        for name in ("curate", "tokens", "index")
    }
