"""Searching copies for what removed posts said, long after the words themselves are gone.

A trace is what one post said, as two 64-bit hashes and a length: it can tell that a copy holds the text, and
cannot give the text back (who guesses a whole text can check the guess, as with any hash). Texts are compared
folded: of ASCII only letters and digits count, in one case; every other character counts as it is. So a
copy is found whatever became of its spaces, quotation marks and line ends.

All rows of a column are searched for all traces in one pass of numpy over the bytes: a polynomial hash modulo
2**64 of every window of the bytes, whose beginnings are looked up in a table of bits.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HEAD = 16  # bytes of a folded text that are looked for first
SHORTEST = 24  # characters; a shorter text is too often somebody else's too
LEAST_BYTES = HEAD  # of the folded text, for the same reason; then all are found in one pass
CHUNK_BYTES = 1 << 20  # of text that are searched at once: what is made of them stays in the processor's cache
BITS = 22  # of the table of beginnings: 4 million entries

_FOLD = np.zeros(256, np.uint8)
for _byte in (*range(ord("0"), ord("9") + 1), *range(ord("a"), ord("z") + 1), *range(0x80, 0x100)):
    _FOLD[_byte] = _byte
for _byte in range(ord("A"), ord("Z") + 1):
    _FOLD[_byte] = _byte + 32

# What copies may mask or leave out: addresses, links, mentions, and numbers that could be somebody's.
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"\d(?:[ ().:/-]?\d){4,}")

BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))


@dataclasses.dataclass(frozen=True)
class Traces:
    """Traces, row by row: whose (a uid, or empty), folded length in bytes, hash of the head and of the whole, and
    whether the text has no line end."""

    uids: pa.Array
    sizes: np.ndarray
    heads: np.ndarray
    wholes: np.ndarray
    one_line: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    @functools.cached_property
    def beginnings(self) -> list[_Beginnings]:
        """What a search looks for first. Kept: every copy is searched for the same traces."""
        return [_Beginnings.of(self, size) for size in np.unique(np.minimum(self.sizes, HEAD)).tolist()]

    def take(self, rows: np.ndarray) -> Traces:
        """Some of the traces, by a mask or by numbers."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns = (self.sizes, self.heads, self.wholes, self.one_line)
        return Traces(self.uids.take(pa.array(chosen)), *(column[chosen] for column in columns))

    @classmethod
    def of(cls, texts: Iterable[str | None], uids: Sequence[str] | None = None) -> Traces:
        """Traces of whole texts, whatever their length; a text without a letter or digit has none."""
        said = list(texts)
        names = pa.array(list(uids) if uids is not None else [""] * len(said), pa.string())
        array = _large(said)
        parts = [cls._of_rows(array.slice(a, b - a), names.slice(a, b - a)) for a, b in _slices(_offsets(array))]
        columns = zip(*((part.sizes, part.heads, part.wholes, part.one_line) for part in parts), strict=True)
        if not parts:
            none = np.zeros(0, np.uint64)
            return cls(names, np.zeros(0, np.int64), none, none, np.zeros(0, bool))
        return cls(pa.concat_arrays([part.uids for part in parts]), *map(np.concatenate, columns))

    @classmethod
    def _of_rows(cls, array: pa.Array, names: pa.Array) -> Traces:
        data, offsets, _ = _folded(array)
        sizes = np.diff(offsets)
        rows = np.flatnonzero(sizes)
        sums, inverse = _sums(data)
        begins, sizes = offsets[:-1][rows], sizes[rows]
        heads = (sums[begins + np.minimum(sizes, HEAD)] - sums[begins]) * inverse[begins]
        wholes = (sums[begins + sizes] - sums[begins]) * inverse[begins]
        one_line = ~np.asarray(pc.match_substring(array, "\n"))[rows]
        return cls(names.take(pa.array(rows)), sizes, heads, wholes, one_line)

    @classmethod
    def joined(cls, parts: Sequence[Traces]) -> Traces:
        """All traces of the parts, each once."""
        if not parts:
            return cls.of([])
        table = pa.concat_tables([part.to_table() for part in parts])
        return cls.from_table(table.group_by(table.column_names).aggregate([]).sort_by("uid"))

    def to_table(self) -> pa.Table:
        """As columns uid, size, head, whole, one_line."""
        said = {"size": self.sizes, "head": self.heads, "whole": self.wholes, "one_line": self.one_line}
        return pa.table({"uid": self.uids, **said})

    @classmethod
    def from_table(cls, table: pa.Table) -> Traces:
        """From `to_table`. Of older ones, without `one_line`, no text is known to have no line end."""
        sizes, heads, wholes = (np.asarray(table[name].combine_chunks()) for name in ("size", "head", "whole"))
        known = "one_line" in table.column_names
        one_line = np.asarray(table["one_line"].combine_chunks()) if known else np.zeros(len(table), bool)
        return cls(table["uid"].combine_chunks(), sizes, heads, wholes, one_line)


Texts = Sequence[str] | Traces
"""What a search looks for: texts, or traces of texts that are gone."""


def as_traces(texts: Texts) -> Traces:
    return texts if isinstance(texts, Traces) else Traces.of(texts)


def telling(uids: Sequence[str], texts: Sequence[str | None]) -> Traces:
    """Traces of what each post said, as far as it tells the post apart: the whole text and, where copies may mask
    or leave out parts of it, its longest stretch between those."""
    names: list[str] = []
    said: list[str] = []
    for uid, text in zip(uids, texts, strict=True):
        for part in dict.fromkeys((text or "", _stretch(text or ""))):
            if len(part) >= SHORTEST:
                names.append(uid)
                said.append(part)
    traces = Traces.of(said, names)
    return traces.take(traces.sizes >= LEAST_BYTES)


def _stretch(text: str) -> str:
    """The longest part of a text without words and numbers that copies may mask or leave out."""
    if "@" in text or "://" in text or "www." in text:
        text = _WORD.sub(lambda m: "\0" if "@" in m[0] or "://" in m[0] or "www." in m[0] else m[0], text)
    return max((part for run in text.split("\0") for part in _NUMBER.split(run)), key=len)


@dataclasses.dataclass(frozen=True)
class Places:
    """Where traces stand: row of the column, number of the trace, and the bytes (UTF-8) of the row's own text."""

    rows: np.ndarray
    traces: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def places(column: Iterable[str | None] | pa.Array | pa.ChunkedArray, texts: Texts) -> Places:
    """Every place in which a trace stands whole in a row."""
    traces, array = as_traces(texts), _large(column)
    if not len(traces) or not len(array):
        return Places(*(np.zeros(0, np.int64) for _ in range(4)))
    slices = list(_slices(_offsets(array)))

    def search(rows: tuple[int, int]) -> Places:
        return _search(array.slice(rows[0], rows[1] - rows[0]), rows[0], traces)

    if len(slices) == 1:
        return search(slices[0])
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy leaves Python's lock
        parts = list(pool.map(search, slices))
    names = [field.name for field in dataclasses.fields(Places)]
    return Places(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _slices(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first row, end) of stretches of about CHUNK_BYTES: what is searched at once, so that memory is bounded."""
    first, rows = 0, len(offsets) - 1
    while first < rows:
        end = int(np.searchsorted(offsets, offsets[first] + CHUNK_BYTES, "right")) - 1
        end = min(max(end, first + 1), rows)
        yield first, end
        first = end


def _search(array: pa.Array, first_row: int, traces: Traces) -> Places:
    """The places in some rows, of which the first is row `first_row` of the column."""
    data, offsets, kept = _folded(array)
    own = _offsets(array)
    parts = [
        _in_rows(*found, offsets, traces.sizes)
        for group in traces.beginnings
        for found in _matches(data, traces, group)
    ]
    parts = parts or [(np.zeros(0, np.int64),) * 3]
    rows, numbers, at = (np.concatenate(column) for column in zip(*parts, strict=True))
    first, last = kept[at], kept[at + traces.sizes[numbers] - 1]
    return Places(rows + first_row, numbers, first - own[rows], last + 1 - own[rows])


def rows_holding(
    column: Iterable[str | None] | pa.Array | pa.ChunkedArray, texts: Texts, *, joined: bool = False
) -> np.ndarray:
    """For each row (bool) whether any of the texts stands in it, whole.

    Rows may be posts `joined` by line ends: then a text without one is found within a line only, for the end of
    one post and the beginning of the next may say by chance what a third said.
    """
    array, traces = _large(column), as_traces(texts)
    found = np.zeros(len(array), bool)
    there = places(array, traces)
    rows = there.rows
    if joined and len(rows):
        across = [_crosses_lines(array, *place) for place in zip(rows, there.begins, there.ends, strict=True)]
        rows = rows[~(np.array(across) & traces.one_line[there.traces])]
    found[rows] = True
    return found


def _crosses_lines(array: pa.Array, row: int, begin: int, end: int) -> bool:
    return b"\n" in array[int(row)].as_buffer().to_pybytes()[begin:end]


def held(column: Iterable[str | None] | pa.Array | pa.ChunkedArray, texts: Texts) -> np.ndarray:
    """For each trace (bool) whether it stands in any row, whole."""
    traces = as_traces(texts)
    found = np.zeros(len(traces), bool)
    found[places(column, traces).traces] = True
    return found


def rows_naming(column: pa.ChunkedArray, uids: frozenset[str]) -> np.ndarray:
    """For each row (bool) of uids, or of lists of uids, whether it names any of `uids`."""
    wanted = _as_array(uids)
    if not pa.types.is_list(column.type):
        return np.asarray(pc.fill_null(pc.is_in(column, wanted), False))
    found = np.zeros(len(column), bool)
    lists = column.combine_chunks()
    found[np.asarray(pc.list_parent_indices(lists).filter(pc.is_in(pc.list_flatten(lists), wanted)))] = True
    return found


@functools.lru_cache(maxsize=2)
def _as_array(uids: frozenset[str]) -> pa.Array:
    return pa.array(list(uids), pa.string())


def _large(column: Iterable[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.cast(pa.large_string()).combine_chunks()
    array = column if isinstance(column, pa.Array) else pa.array(list(column), pa.large_string())
    array = array if array.type == pa.large_string() else array.cast(pa.large_string())
    return pc.fill_null(array, "") if array.null_count else array


def _offsets(array: pa.Array) -> np.ndarray:
    buffer = array.buffers()[1]
    return (
        np.frombuffer(buffer, np.int64)[array.offset : array.offset + len(array) + 1]
        if buffer
        else np.zeros(1, np.int64)
    )


def _folded(array: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes that count of all rows in a line; where each row begins in it; where each byte stood before."""
    array = _large(array)
    offsets = _offsets(array)
    whole = array.buffers()[2]
    raw = np.frombuffer(whole, np.uint8)[offsets[0] : offsets[-1]] if whole and len(whole) else np.zeros(0, np.uint8)
    folded = _FOLD[raw]
    kept = np.flatnonzero(folded)
    return folded[kept], np.searchsorted(kept, offsets - offsets[0]), kept + offsets[0]


def _sums(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running sums of byte times power, so that a window's hash is a difference; and the inverse powers."""
    powers, inverse = _powers(len(data) + 1)
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(data * powers[:-1], out=sums[1:])
    return sums, inverse


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first powers of the base, and of its inverse. Kept: every slice of a column needs the same."""
    size = 1 << max(count - 1, 1).bit_length()
    powers, inverse = _all_powers(size)
    return powers[:count], inverse[:count]


@functools.lru_cache(maxsize=2)
def _all_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    both = []
    for base in (BASE, _INVERSE):
        powers = np.full(count, base, np.uint64)
        powers[0] = 1
        both.append(np.multiply.accumulate(powers))
    return both[0], both[1]


@dataclasses.dataclass(frozen=True)
class _Beginnings:
    """The traces whose head has one size, by their heads: numbers, heads, and a table of bits that says which are."""

    size: int
    longest: int
    order: np.ndarray
    heads: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, traces: Traces, size: int) -> _Beginnings:
        chosen = np.flatnonzero(np.minimum(traces.sizes, HEAD) == size)
        order = chosen[np.argsort(traces.heads[chosen], kind="stable")]
        heads = traces.heads[order]
        bits = np.zeros(1 << BITS, bool)
        bits[heads >> np.uint64(64 - BITS)] = True
        return cls(size, int(traces.sizes[chosen].max()), order, heads, bits)


def _matches(data: np.ndarray, traces: Traces, group: _Beginnings) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """(numbers of traces, where each begins in the bytes), for the traces of one group."""
    size, heads, longest = group.size, group.heads, group.longest
    step = max(CHUNK_BYTES, 4 * longest)
    powers, inverse = _powers(min(len(data), step + longest - 1) + 1)
    for start in range(0, len(data) - size + 1, step):
        part = data[start : start + step + longest - 1]
        sums = np.zeros(len(part) + 1, np.uint64)
        np.cumsum(part * powers[: len(part)], out=sums[1:])
        windows = min(step, len(part) - size + 1)
        hashes = sums[size : size + windows] - sums[:windows]
        hashes *= inverse[:windows]
        at = np.flatnonzero(group.bits[hashes >> np.uint64(64 - BITS)])
        found = hashes[at]
        low, high = np.searchsorted(heads, found, "left"), np.searchsorted(heads, found, "right")
        times = high - low
        at, low = np.repeat(at, times), np.repeat(low, times)
        within = np.arange(len(low)) - np.repeat(np.cumsum(times) - times, times)
        numbers = group.order[low + within]
        ends = at + traces.sizes[numbers]
        fits = ends <= len(part)
        at, numbers, ends = at[fits], numbers[fits], ends[fits]
        same = (sums[ends] - sums[at]) * inverse[at] == traces.wholes[numbers]
        yield numbers[same], at[same] + start


def _in_rows(
    numbers: np.ndarray, begins: np.ndarray, offsets: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, trace, begin) of the matches that lie in one row."""
    rows = np.searchsorted(offsets, begins, "right") - 1
    inside = begins + sizes[numbers] <= offsets[rows + 1]
    return rows[inside], numbers[inside], begins[inside]
