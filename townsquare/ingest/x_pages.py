"""Pages of X API v2 as whole columns: what `sources.x_api_v2` says of one post, said of a hundred thousand at once.

Arrow's JSON reader decodes pages against a fixed schema, and every column is computed for all posts
together. A page that is not exactly of the usual shape is given back to be read post by post, so that no
trap has two implementations: only the usual is done twice, and a test holds both to the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from townsquare.ingest.rows import Origin
from townsquare.ingest.text import without_mentions, x_text
from townsquare.ingest.x_page_schema import COUNT, METRICS, PAGE, STRING
from townsquare.ingest.x_words import (
    Linked,
    by_row,
    composed,
    cut_short,
    dropped,
    field,
    free_of_controls,
    moments,
    not_ids,
    only_ids,
    require_utf8,
    texts_in,
    unescaped,
    with_controls,
    with_ellipsis,
    with_link,
    without_first_mention,
)
from townsquare.records import LINK, MEDIA, POSTS

Lines = Sequence[tuple[int, bytes]]
"""Numbered lines, each one page."""
Errors = list[tuple[int, list[Any]]]
"""(line, its page's errors)."""


class _WithErrors(msgspec.Struct):
    errors: list[msgspec.Raw] = []


_WITH_ERRORS = msgspec.json.Decoder(_WithErrors)
LARGEST_COUNT = 10**18


def read(lines: Lines, origin: Origin, grant: str | None) -> tuple[pa.Table, list[int], Errors]:
    """(posts (records.POSTS) and errors of the usual pages among the lines; the places in `lines` of all others)."""
    tables, usual, said = [], set(), []
    for some, page, plain in _decoded(lines, [i for i, (_, line) in enumerate(lines) if _may_fit(line)]):
        errors = {row: _errors(lines[some[row]][1]) for row in np.flatnonzero(page["errors"].is_valid()).tolist()}
        odd = [row for row, found in errors.items() if found is None]
        pages = _Pages(page, [lines[i][0] for i in some], origin, grant)
        table, fits = pages.table(odd if plain else [*odd, *pages.with_controls()])
        tables.append(table)
        usual |= {i for i, fit in zip(some, fits, strict=True) if fit}
        said += [(lines[some[row]][0], found) for row, found in errors.items() if found and fits[row]]
    left = [i for i in range(len(lines)) if i not in usual]
    return pa.concat_tables(tables) if tables else POSTS.empty_table(), left, said


def _errors(line: bytes) -> list[Any] | None:
    """A page's errors; None where they are not as they should be."""
    try:
        return [json.loads(bytes(error)) for error in _WITH_ERRORS.decode(line).errors]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _may_fit(line: bytes) -> bool:
    # Between braces, no two lines can be one JSON value and no value can end on another line.
    return line.startswith(b"{") and line.endswith(b"}")


def _decoded(lines: Lines, wanted: list[int]) -> list[tuple[list[int], pa.Table, bool]]:
    """The lines that the schema fits, decoded, and whether no text in them can have a control that cleaning takes out.

    Where the schema does not fit, halves are tried, down to the line at fault.
    """
    if not wanted:
        return []
    block = b"\n".join(lines[i][1] for i in wanted)
    try:
        require_utf8(block)  # Arrow's JSON reader takes anything
        page = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 2),
            parse_options=pj.ParseOptions(explicit_schema=PAGE, unexpected_field_behavior="ignore"),
        )
        if page.num_rows == len(wanted):
            return [(wanted, page, free_of_controls(block))]
    except pa.ArrowInvalid:
        pass
    if len(wanted) == 1:
        return []
    half = len(wanted) // 2
    return _decoded(lines, wanted[:half]) + _decoded(lines, wanted[half:])


class _Pages:
    """Decoded pages, taken apart into the columns of posts."""

    def __init__(self, page: pa.Table, numbers: list[int], origin: Origin, grant: str | None) -> None:
        page = page.combine_chunks()
        self._whole = page
        self._numbers = pa.array(numbers, pa.int64())
        self._origin, self._grant = origin, grant
        data, includes = _chunk(page["data"]), _chunk(page["includes"])
        self._usual = pc.is_valid(data).to_numpy(False).copy()
        parts = [_Flat(data), _Flat(field(includes, "tweets"))]
        self._page = np.concatenate([part.parent for part in parts])
        self._place = np.concatenate([part.position for part in parts])
        self._where = pa.array(["data", "includes"]).take(
            pa.array(np.repeat(np.arange(2, dtype=np.int8), [len(part.parent) for part in parts]))
        )
        self._post = pa.concat_arrays([part.values for part in parts])
        self._users, self._media = _Flat(field(includes, "users")), _Flat(field(includes, "media"))
        self._count = len(self._post)
        self._usual[np.bincount(self._page, minlength=len(page)) == 0] = False

    def table(self, odd: list[int]) -> tuple[pa.Table, list[bool]]:
        """(posts of usual pages, whether each page is one). Those that are known to be `odd` are none."""
        self._usual[odd] = False
        self._check()
        columns = self._columns()
        arrays = [columns.get(f.name, pa.nulls(self._count, f.type)).cast(f.type) for f in POSTS]
        table = pa.Table.from_arrays(arrays, schema=POSTS)
        if not self._usual.all():
            table = table.filter(pa.array(self._usual[self._page]))
        return table, self._usual.tolist()

    def with_controls(self) -> list[int]:
        """The pages in which a text has a control that cleaning takes out."""
        found = np.zeros(len(self._usual), np.bool_)
        for name in ("data", "includes"):
            for words, rows in texts_in(_chunk(self._whole[name]), np.arange(len(found))):
                found[rows[with_controls(words)]] = True
        return np.flatnonzero(found).tolist()

    def _get(self, *path: str) -> pa.Array:
        found = self._post
        for name in path:
            found = field(found, name)
        return found

    def _unusual(self, bad: pa.Array) -> None:
        """Give back the pages of posts for which `bad` (null counts as true) holds."""
        rows = pc.fill_null(bad, True).to_numpy(False)
        self._usual[self._page[rows]] = False

    def _check(self) -> None:
        self._usual[self._page[not_ids(self._get("id"))]] = False
        self._unusual(pc.is_null(self._get("text")))
        for name in METRICS.values():
            count = pc.fill_null(self._get("public_metrics", name), 0)
            self._unusual(pc.or_(pc.greater_equal(count, LARGEST_COUNT), pc.less_equal(count, -LARGEST_COUNT)))
        history = _Flat(self._get("edit_history_tweet_ids"))
        self._usual[self._page[history.parent[not_ids(history.values)]]] = False
        for name in ("withheld", "media_metadata"):  # rare: a set of countries, alt texts beside the media
            self._unusual(pc.is_valid(self._get(name)))

    def _columns(self) -> dict[str, pa.Array]:
        created, precision = moments(self._get("created_at"), self._get("id"))
        root, lang = _uid(only_ids(self._get("conversation_id"))), _said(self._get("lang"))
        references = self._references()
        handle, visibility = self._authors()
        return {
            **self._fixed(),
            "uid": _uid(self._get("id")),
            "source_locator": self._locators(),
            "author_id": only_ids(self._get("author_id")),
            "author_handle": handle,
            "visibility": visibility,
            "created_at": created,
            "created_at_precision": precision,
            "created_at_trust": _where(pc.is_valid(created), "server"),
            "lang": lang,
            "lang_source": _where(pc.is_valid(lang), "platform"),
            "reply_to": references["replied_to"][0],
            "reply_to_author": only_ids(self._get("in_reply_to_user_id")),
            "conversation_root": root,
            "root_source": _where(pc.is_valid(root), "platform"),
            "quote_of": references["quoted"][0],
            "repost_of": references["retweeted"][0],
            "source_app": _said(self._get("source")),
            "sensitive": self._get("possibly_sensitive"),
            **self._texts(references),
            **self._edits(),
            **{name: self._get("public_metrics", key) for name, key in METRICS.items()},
            "media": self._media_lists(),
        }

    def _fixed(self) -> dict[str, pa.Array]:
        said = {
            "network": "x",
            "source_id": self._origin.source_id,
            "source_sha256": self._origin.sha256,
            "state": "live",
            "grant_id": self._grant,
        }
        return {name: pa.repeat(pa.scalar(value, pa.string()), self._count) for name, value in said.items()}

    def _locators(self) -> pa.Array:
        number = pc.cast(self._numbers.take(pa.array(self._page)), STRING)
        place = pc.cast(pa.array(self._place), STRING)
        member = pa.scalar(self._origin.member, STRING)
        return pc.binary_join_element_wise(member, number, self._where, place, ":")

    def _references(self) -> dict[str, tuple[pa.Array, np.ndarray]]:
        """By type: the post that is referred to, and whether any is. The last of a type counts."""
        flat = _Flat(self._get("referenced_tweets"))
        uid = _uid(only_ids(field(flat.values, "id")))
        kind = field(flat.values, "type")
        result = {}
        for name in ("replied_to", "quoted", "retweeted"):
            spots = np.flatnonzero(pc.fill_null(pc.equal(kind, name), False).to_numpy(False))
            at = np.full(self._count, -1, np.int64)
            at[flat.parent[spots]] = spots
            there = at >= 0
            result[name] = (uid.take(pa.array(at, mask=~there)), there)
        return result

    def _authors(self) -> tuple[pa.Array, pa.Array]:
        """(handle, visibility) of each post, by the users of its own page."""
        at = self._among(self._users, "id", self._page, only_ids(self._get("author_id")))
        protected = pc.fill_null(field(self._users.values, "protected").take(at), False)
        return _said(field(self._users.values, "username")).take(at), pc.if_else(protected, "protected", "public")

    def _among(self, given: _Flat, name: str, pages: np.ndarray, wanted: pa.Array) -> pa.Array:
        """Where each wanted id stands among what is given of its page; the last of several, null where none does."""
        ids = field(given.values, name)
        keys, sought = _keys(given.parent, ids), _keys(pages, wanted)
        order = np.argsort(keys, kind="stable")
        place = np.searchsorted(keys[order], sought, "right") - 1
        at = order[place] if len(order) else place
        there = wanted.is_valid().to_numpy(False) & (place >= 0)
        there[there] = keys[at[there]] == sought[there]
        found = pa.array(at, mask=~there)
        same = pc.fill_null(pc.equal(ids.take(found), wanted), False).to_numpy(False)
        same[there] &= given.parent[at[there]] == pages[there]
        self._usual[pages[there & ~same]] = False  # two keys that are alike by chance
        return found

    def _edits(self) -> dict[str, pa.Array]:
        history = self._get("edit_history_tweet_ids")
        flat = _Flat(history)
        uids = _uid(flat.values)
        counts = pc.fill_null(pc.list_value_length(history), 0).to_numpy(False)
        ends = np.cumsum(counts)
        there = counts > 0
        own = _uid(self._get("id"))
        first = uids.take(pa.array(np.where(there, ends - counts, 0), mask=~there))
        last = uids.take(pa.array(np.where(there, ends - 1, 0), mask=~there))
        return {
            "edit_history": _lists(counts, uids, there),
            "edit_of": pc.if_else(pc.fill_null(pc.not_equal(first, own), False), first, pa.scalar(None, STRING)),
            "is_latest_edit": pc.equal(last, own),
        }

    def _texts(self, references: dict[str, tuple[pa.Array, np.ndarray]]) -> dict[str, pa.Array]:
        noted = pc.is_valid(self._get("note_tweet", "text"))
        cut = pa.array(with_ellipsis(self._get("text")))
        raw = pc.coalesce(self._get("note_tweet", "text"), self._get("text"), "")  # empty only where given back
        urls = _chosen(noted, self._get("note_tweet", "entities", "urls"), self._get("entities", "urls"))
        mentions = _chosen(noted, self._get("note_tweet", "entities", "mentions"), self._get("entities", "mentions"))
        flat = _Flat(urls)
        expanded = pc.coalesce(_said(field(flat.values, "unwound_url")), _said(field(flat.values, "expanded_url")))
        kept = [_said(field(flat.values, "url")), expanded, _said(field(flat.values, "title"))]
        links = pa.StructArray.from_arrays(kept, fields=list(LINK))
        counts = np.bincount(flat.parent, minlength=self._count)
        return {
            "text_raw": raw,
            "text": self._cleaned(raw, references, mentions, (flat, links, counts), pc.or_(cut, noted)),
            "text_status": self._statuses(noted, references["retweeted"][1], cut),
            "links": _lists(counts, links, counts > 0),
        }

    def _cleaned(
        self,
        raw: pa.Array,
        references: dict[str, tuple[pa.Array, np.ndarray]],
        mentions: pa.Array,
        linked: tuple[_Flat, pa.Array, np.ndarray],
        odd: pa.Array,
    ) -> pa.Array:
        """The posts' own words, by whole columns where a post has at most one mention and link, else one by one."""
        flat, links, counts = linked
        named = _Flat(mentions)
        names = field(named.values, "username")
        answers = references["replied_to"][1] & pc.starts_with(raw, "@").to_numpy(False)
        own_media = pc.is_valid(field(flat.values, "media_key"))
        quoted = references["quoted"][0]

        text, hard = without_first_mention(raw, answers, names, named.parent)
        hard |= odd.to_numpy(False) | (counts > 1)
        text, unfit = with_link(
            text, np.flatnonzero(~hard & (counts == 1)), Linked(flat.parent, links, own_media, quoted)
        )
        hard |= unfit
        bare = pa.array(~hard & (counts == 0))
        text = pc.if_else(bare, unescaped(text), text)
        text = pc.utf8_trim_whitespace(composed(text))

        rows = np.flatnonzero(hard)
        names_of, links_of = by_row(names, named.parent), by_row(links, flat.parent)
        keys_of = by_row(own_media, flat.parent)
        texts = raw.take(pa.array(rows)).to_pylist()
        for k, row in enumerate(rows.tolist()):
            said = without_mentions(texts[k], {str(name) for name in names_of(row)}) if answers[row] else texts[k]
            found = links_of(row)
            texts[k] = x_text(said, found, dropped(found, keys_of(row), quoted[row].as_py()))
        return pc.replace_with_mask(text, pa.array(hard), pa.array(texts, STRING))

    def _statuses(self, noted: pa.Array, reposts: np.ndarray, maybe_cut: pa.Array) -> pa.Array:
        text = self._get("text")
        maybe = np.flatnonzero(maybe_cut.to_numpy(False))
        cut = np.zeros(self._count, np.bool_)
        for row, said in zip(maybe.tolist(), text.take(pa.array(maybe)).to_pylist(), strict=True):
            cut[row] = cut_short(said, repost=bool(reposts[row]))
        return pc.if_else(noted, "note_joined", pc.if_else(pa.array(cut), "truncated", "full"))

    def _media_lists(self) -> pa.Array:
        keys = _Flat(self._get("attachments", "media_keys"))
        if not len(keys.parent) or not len(self._media.parent):
            return pa.nulls(self._count, pa.list_(MEDIA))
        values = self._media.values
        found = self._among(self._media, "media_key", self._page[keys.parent], keys.values)
        at, rows = found.drop_null(), keys.parent[found.is_valid().to_numpy(False)]
        sizes = [_pixels(field(values, name).take(at)) for name in ("width", "height")]
        address = pc.coalesce(_said(field(values, "url")), _said(field(values, "preview_image_url")))
        said = [_said(field(values, "type")), address, _said(field(values, "alt_text"))]
        items = pa.StructArray.from_arrays([*(column.take(at) for column in said), *sizes], fields=list(MEDIA))
        counts = np.bincount(rows, minlength=self._count)
        return _lists(counts, items, counts > 0)


class _Flat:
    """A list column's items in order, each with the row it belongs to and its position there."""

    def __init__(self, column: pa.ListArray) -> None:
        self.values = column.flatten()
        self.parent = pc.list_parent_indices(column).to_numpy(False)
        self._column = column

    @property
    def position(self) -> np.ndarray:
        counts = pc.fill_null(pc.list_value_length(self._column), 0).to_numpy(False).astype(np.int64)
        return np.arange(len(self.parent)) - np.repeat(np.cumsum(counts) - counts, counts)


def _keys(pages: np.ndarray, ids: pa.Array) -> np.ndarray:
    """A number for each pair of page and id, nearly always another for another pair."""
    hashes: np.ndarray = pl.Series(pl.from_arrow(ids)).hash().to_numpy()
    return hashes ^ (pages.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _said(column: pa.Array) -> pa.Array:
    """Text, where there is any: an empty one is unknown."""
    return pc.if_else(pc.fill_null(pc.not_equal(column, ""), False), column, pa.scalar(None, STRING))


def _uid(numbers: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar("x:"), numbers, "")


def _where(condition: pa.Array, word: str) -> pa.Array:
    return pc.if_else(condition, word, pa.scalar(None, STRING))


def _chosen(first: pa.Array, yes: pa.Array, no: pa.Array) -> pa.Array:
    return no if not pc.any(first).as_py() else pc.if_else(first, yes, no)


def _pixels(column: pa.Array) -> pa.Array:
    fits = pc.and_(pc.greater_equal(column, 0), pc.less(column, 1 << 31))
    return pc.if_else(pc.fill_null(fits, False), column, pa.scalar(None, COUNT)).cast(pa.int32())


def _lists(counts: np.ndarray, values: pa.Array, there: np.ndarray) -> pa.Array:
    """A list column; null where there is nothing."""
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~there))
