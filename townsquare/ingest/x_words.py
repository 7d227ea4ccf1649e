"""The words of X posts, cleaned column by column: as `text.x_text` does it for one post, for all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.ingest.text import is_cut, x_created

LONGEST_ID = 20
ID = f"^[0-9]{{1,{LONGEST_ID}}}$"
# Whatever has a letter or mark that NFC may change or move; of higher planes only those with pictures surely have none.
_MAY_COMPOSE = r"[^\x00-\x{2ff}\x{2002}-\x{20cf}\x{2200}-\x{2328}\x{2460}-\x{27ff}\x{1f000}-\x{1faff}\x{fe0f}]"
_IN_CACHE = 1 << 17  # bytes
_FIRST_MARK = 0xCC  # with which U+0300 begins in UTF-8: the first that may combine
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
_ONE_MENTION = r"(?s)^@(?P<name>[A-Za-z0-9_]+) (?P<rest>[^@].*)$"
_ONE_LINK = r"(?s)^(?P<before>.*?)(?P<link>https?://t\.co/[A-Za-z0-9]+)(?P<after>.*)$"


def dropped(links: Sequence[dict[str, str | None]], own_media: Sequence[bool], quoted: str | None) -> list[str]:
    """The t.co links that are a post's own media or the post that it quotes (a uid): they are no part of its text."""
    number = (quoted or "").removeprefix("x:")
    result = []
    for link, own in zip(links, own_media, strict=True):
        short, expanded = link["short"], link["expanded"] or ""
        is_quote = bool(number) and expanded.split("?")[0].endswith(f"/{number}")
        if short and (own or is_quote or expanded.endswith(("/photo/1", "/video/1"))):
            result.append(short)
    return result


def cut_short(text: str, *, repost: bool) -> bool:
    """Whether a post's `text` is not the whole: reposts end in an ellipsis wherever they were cut."""
    return is_cut(text) or (repost and text.rstrip().endswith("…"))


def field(column: pa.StructArray, name: str) -> pa.Array:
    """A field with the struct's own nulls on it."""
    return pc.struct_field(column, name) if column.null_count else column.field(name)


def arrow(series: pl.Series) -> pa.Array:
    array = series.to_arrow()
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) or array.type == pa.string_view() else array


def by_row(values: pa.Array, parent: np.ndarray) -> Callable[[int], list[Any]]:
    """A function from a row to its own values, as Python has them."""

    def of(row: int) -> list[Any]:
        start, end = np.searchsorted(parent, (row, row + 1))
        found: list[Any] = values.slice(start, end - start).to_pylist()
        return found

    return of


def without_first_mention(
    raw: pa.Array, answers: np.ndarray, names: pa.Array, parent: np.ndarray
) -> tuple[pa.Array, np.ndarray]:
    """(texts without the one mention that an answer begins with; which answers are to be looked at one by one)."""
    mentioned = np.bincount(parent, minlength=len(raw))
    single = np.flatnonzero(answers & (mentioned == 1))
    parts = pc.extract_regex(raw.take(pa.array(single)), _ONE_MENTION)
    known = names.take(pa.array(np.searchsorted(parent, single)))
    fits = pc.and_(pc.is_valid(parts), pc.equal(pc.ascii_lower(field(parts, "name")), pc.ascii_lower(known)))
    spots = single[pc.fill_null(fits, False).to_numpy(False)]
    done = np.zeros(len(raw), np.bool_)
    done[spots] = True
    rest = field(parts, "rest").filter(pc.fill_null(fits, False))
    return pc.replace_with_mask(raw, pa.array(done), rest), answers & ~done


class Linked(NamedTuple):
    """Links of all posts: whose each is, what it is, whether it is the post's own media; and the posts quoted."""

    parent: np.ndarray
    links: pa.Array
    own_media: pa.Array
    quoted: pa.Array


def with_link(text: pa.Array, rows: np.ndarray, linked: Linked) -> tuple[pa.Array, np.ndarray]:
    """(texts of posts with one link, with it put in and the rest unescaped; which posts are to be done one by one)."""
    at = pa.array(rows)
    link = np.searchsorted(linked.parent, rows)
    short, expanded = (field(linked.links.take(pa.array(link)), name) for name in ("short", "expanded"))
    parts = pc.extract_regex(text.take(at), _ONE_LINK)
    before, after = field(parts, "before"), field(parts, "after")
    single = pc.invert(pc.or_(pc.match_substring(before, "//t.co/"), pc.match_substring(after, "//t.co/")))
    fits = pc.fill_null(pc.and_(single, pc.equal(field(parts, "link"), short)), False)
    own = linked.own_media.take(pa.array(link)).to_numpy(False)
    # Which links are the post's own media, or what it quotes, is asked of few and in one way for all sources.
    doubtful = np.flatnonzero(
        own | pc.match_substring_regex(pc.fill_null(expanded, ""), "/[0-9]+([?]|$)").to_numpy(False)
    )
    gone = np.zeros(len(rows), np.bool_)
    some = pa.array(doubtful)
    quoted = linked.quoted.take(at.take(some)).to_pylist()
    for spot, number, found in zip(
        doubtful, quoted, linked.links.take(pa.array(link[doubtful])).to_pylist(), strict=True
    ):
        gone[spot] = bool(dropped([found], [bool(own[spot])], number))
    put = pc.if_else(pa.array(gone), "", pc.coalesce(expanded, short))
    whole = pc.binary_join_element_wise(unescaped(before), put, unescaped(after), "")
    mask, done = np.zeros(len(text), np.bool_), np.zeros(len(text), np.bool_)
    mask[rows] = True
    fitting = fits.to_numpy(False)
    done[rows[fitting]] = True
    return pc.replace_with_mask(text, pa.array(done), whole.filter(fits)), mask & ~done


def unescaped(text: pa.Array) -> pa.Array:
    """As `text.unescape_x`: the ampersand last, so that nothing is undone twice."""
    rows = _where(text, lambda data: data == ord("&"))
    if not len(rows):
        return text
    some = text.take(pa.array(rows))
    for escape, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        some = pc.replace_substring(some, escape, character)
    return _replaced(text, rows, some)


def composed(text: pa.Array) -> pa.Array:
    """NFC, by Polars: Arrow's own leaves letters apart from their accents."""
    rows = _where(text, lambda data: data >= _FIRST_MARK)
    rows = rows[pc.match_substring_regex(text.take(pa.array(rows)), _MAY_COMPOSE).to_numpy(False)]
    if not len(rows):
        return text
    some = pl.Series(pl.from_arrow(text.take(pa.array(rows)))).str.normalize("NFC")
    return _replaced(text, rows, arrow(some))


def only_ids(column: pa.Array) -> pa.Array:
    """The ids of a column, null where it has something else."""
    if _all_ids(column):
        return column
    return pc.if_else(pc.fill_null(pc.match_substring_regex(column, ID), False), column, pa.scalar(None, pa.string()))


def with_ellipsis(column: pa.Array) -> np.ndarray:
    """For each text (bool) whether it has an ellipsis; false for null."""
    ends, data = _bytes(column)
    leads = np.flatnonzero(data[:-2] == 0xE2)
    found = np.zeros(len(column), np.bool_)
    found[_rows(ends, leads[(data[leads + 1] == 0x80) & (data[leads + 2] == 0xA6)])] = True
    return found


def not_ids(column: pa.Array) -> np.ndarray:
    """The numbers of the values that are no id; null is none."""
    if not column.null_count and _all_ids(column):
        return np.zeros(0, np.int64)
    return np.flatnonzero(~pc.fill_null(pc.match_substring_regex(column, ID), False).to_numpy(False))


def _all_ids(column: pa.Array) -> bool:
    """Whether each is null or 1 to 20 digits: nearly always, and told from the bytes ten times as fast as by rows."""
    ends, digits = _bytes(column)
    sizes = np.diff(ends)
    if column.null_count:
        sizes = sizes[column.is_valid().to_numpy(False)]
    known = not len(sizes) or (sizes.min() > 0 and sizes.max() <= LONGEST_ID)
    return bool(known and (digits - np.uint8(ord("0")) < 10).all())


def require_utf8(block: bytes) -> None:
    """Raises ArrowInvalid where it is not."""
    offsets = np.array([0, len(block)], np.int64)
    pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(block)]).validate(full=True)


def free_of_controls(block: bytes) -> bool:
    """Whether a block has neither NUL nor U+0080 to U+009F, as they are or escaped; False where that takes a look."""
    data = np.frombuffer(block, np.uint8)
    for start in range(0, len(data) - 3, _IN_CACHE):  # what is made of so many bytes stays in the processor's cache
        part = data[start : min(start + _IN_CACHE, len(data) - 3)]
        leads, escapes = (start + np.flatnonzero(part == byte) for byte in (0xC2, ord("\\")))
        low = (data[escapes + 1] == ord("u")) & (data[escapes + 2] == ord("0")) & (data[escapes + 3] == ord("0"))
        if low.any() or (data[leads + 1] < 0xA0).any():
            return False
    return b"\0" not in block


def texts_in(column: pa.Array, rows: np.ndarray) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """All arrays of text within a column; `rows` says of each item which row it belongs to."""
    if pa.types.is_struct(column.type):
        for part in column.type:
            yield from texts_in(field(column, part.name), rows)
    elif pa.types.is_list(column.type):
        yield from texts_in(column.flatten(), rows[pc.list_parent_indices(column).to_numpy(False)])
    elif pa.types.is_string(column.type):
        yield column, rows


def with_controls(column: pa.Array) -> np.ndarray:
    """The numbers of the texts with a control that cleaning takes out and JSON allows: NUL, U+0080 to U+009F."""
    ends, data = _bytes(column)
    if not len(data) or (data.min() > 0 and data.max() < 0xC2):
        return np.zeros(0, np.int64)
    leads = np.flatnonzero(data[:-1] == 0xC2)
    found = np.concatenate([np.flatnonzero(data == 0), leads[data[leads + 1] < 0xA0]])
    return _rows(ends, found)


def _where(column: pa.Array, holds: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The numbers of the texts with a byte for which `holds`: a look at the bytes is quicker than one at every row."""
    ends, data = _bytes(column)
    return _rows(ends, np.flatnonzero(holds(data)))


def _rows(ends: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whose the bytes at these places are, each text once."""
    return np.unique(np.searchsorted(ends - ends[0], at, "right") - 1)


def _replaced(column: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    mask = np.zeros(len(column), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), values)


def _bytes(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(where each text begins and the last ends, in the buffer; the bytes from the first to there)."""
    _, offsets, data = column.buffers()
    if not len(column) or not offsets or not data:
        return np.zeros(len(column) + 1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return ends, np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]


def moments(said: pa.Array, numbers: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(created_at, its precision), as `text.x_created` tells it."""
    usual = pc.fill_null(pc.match_substring_regex(said, _MOMENT), False)
    try:
        times = pc.cast(pc.if_else(usual, said, pa.scalar(None, pa.string())), pa.timestamp("us", tz="UTC"))
        odd = np.flatnonzero(~usual.to_numpy(False))
    except pa.ArrowInvalid:  # such as a thirteenth month
        times = pa.nulls(len(said), pa.timestamp("us", tz="UTC"))
        odd = np.arange(len(said))
    precision = pa.repeat(pa.scalar("ms"), len(said))
    if not len(odd):
        return times, precision
    at = pa.array(odd)
    told = [
        x_created(value, number) if number else (None, "unknown")
        for value, number in zip(said.take(at).to_pylist(), only_ids(numbers).take(at).to_pylist(), strict=True)
    ]
    mask = np.zeros(len(said), np.bool_)
    mask[odd] = True
    here = pa.array(mask)
    times = pc.replace_with_mask(times, here, pa.array([time for time, _ in told], times.type))
    return times, pc.replace_with_mask(precision, here, pa.array([word for _, word in told], pa.string()))
