"""What is remembered of deleted posts, so that copies of their words can be found when the words are gone.

Beside the tables lie traces of what each deleted post said (see `townsquare.traces`: one-way hashes), and, until a
takedown has dealt with them, the ids of posts from which the words of a deleted post were cut.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from townsquare.ingest import store
from townsquare.records import POSTS
from townsquare.square import Square, write_atomically
from townsquare.traces import LEAST_BYTES, Traces, places, telling

CUT = "[…]"
"""What stands where the words of a deleted post were quoted."""
SAYS = ("text", "text_raw")
# Where the customs of networks mark a quotation by a line that begins with >.
_QUOTED_LINE = re.compile(rf"^[ \t]*>.{{{LEAST_BYTES},}}$", re.M)


def remember(square: Square, posts: pa.Table) -> None:
    """Keep traces of what the posts (uid, text, text_raw) say, before they are emptied. A replay changes nothing."""
    traces = Traces.joined([telling(posts["uid"].to_pylist(), posts[name].to_pylist()) for name in SAYS])
    if not len(traces):
        return
    table = traces.to_table()
    sink = io.BytesIO()
    pq.write_table(table, sink)
    # Named by content: the same posts remembered twice are one file.
    digest = hashlib.sha256(repr((table["uid"].to_pylist(), traces.wholes.tolist())).encode()).hexdigest()
    write_atomically(_folder(square) / f"{digest[:32]}.parquet", sink.getvalue())


def remembered(square: Square) -> Traces:
    """Traces of every deleted post whose words were ever here."""
    files = sorted(_folder(square).glob("*.parquet"))
    return Traces.joined([Traces.from_table(pq.read_table(path)) for path in files])


def _folder(square: Square) -> Path:
    return square.posts / "removed"


def cut_quotes(square: Square) -> int:
    """Cut the words of deleted posts from the live posts that answer or quote them; returns how many posts changed.

    What else those posts say is their authors'. Their copies elsewhere are a takedown's to erase: see `quotes_cut`.
    """
    posts = store.dataset(square, "posts")  # stays at this version, so that offsets hold
    links = posts.to_table(columns=["uid", "state", "reply_to", "quote_of"])
    deleted = links.filter(pc.equal(links["state"], "deleted"))["uid"].combine_chunks()
    names = pc.or_(*(pc.is_in(links[name], deleted) for name in ("reply_to", "quote_of")))
    rows = np.flatnonzero(np.asarray(pc.and_(names, pc.equal(links["state"], "live"))))
    if not len(rows):
        return 0
    naming = store.rows_at(posts, rows).cast(POSTS)
    traces = remembered(square)
    traces = traces.take(np.asarray(pc.is_in(traces.uids, deleted)))
    after = {name: _without_quotes(naming, name, traces) for name in SAYS}
    changed = pc.or_(*(pc.fill_null(pc.not_equal(naming[name], after[name]), False) for name in SAYS))
    for name, column in after.items():
        naming = naming.set_column(naming.schema.get_field_index(name), POSTS.field(name), column)
    naming = naming.filter(changed)
    if len(naming):
        _note_cut(square, naming["uid"].to_pylist())
        store.mark_purge(square)
        store.upsert(square, "posts", naming)
    return len(naming)


def _without_quotes(posts: pa.Table, name: str, traces: Traces) -> pa.Array:
    """One column of text, less what it quotes of the posts that each row answers or quotes."""
    texts = posts[name].to_pylist()
    wanted = list(zip(posts["reply_to"].to_pylist(), posts["quote_of"].to_pylist(), strict=True))
    spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
    found = places(texts, traces)
    owners = traces.uids.take(pa.array(found.traces)).to_pylist()
    for row, owner, begin, end in zip(found.rows, owners, found.begins, found.ends, strict=True):
        if owner in wanted[row]:
            spans[int(row)].append((int(begin), int(end)))
    kept = (_less(text, spans[row]) if text else text for row, text in enumerate(texts))
    return pa.array((_QUOTED_LINE.sub(CUT, text) if text else text for text in kept), pa.string())


def _less(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text with spans of its UTF-8 bytes cut."""
    data, at, parts = text.encode(), 0, []
    for begin, end in sorted(spans):
        if end > at:
            if begin >= at:
                parts += [data[at:begin], CUT.encode()]
            at = end
    return b"".join([*parts, data[at:]]).decode()


def quotes_cut(square: Square) -> frozenset[str]:
    """Posts from which words were cut since the last takedown was proven: copies elsewhere may still hold them."""
    path = _cut_file(square)
    return frozenset(path.read_text(encoding="utf-8").splitlines() if path.is_file() else ())


def _note_cut(square: Square, uids: Sequence[str]) -> None:
    lines = sorted({*quotes_cut(square), *uids})
    write_atomically(_cut_file(square), "".join(f"{uid}\n" for uid in lines).encode())


def forget_cut(square: Square) -> None:
    """Every copy elsewhere was erased, and searched."""
    _cut_file(square).unlink(missing_ok=True)


def _cut_file(square: Square) -> Path:
    return square.posts / ".cut"
