"""Searching copies for what posts said: many texts in many rows, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

PREFIX_CHARACTERS = 24  # a first pass looks for beginnings only: a small automaton, and few rows are left


def rows_holding(rows: Iterable[str | None], texts: Iterable[str]) -> list[bool]:
    """For each row whether it holds any of the texts, whole, anywhere in it."""
    column = pl.Series(rows, dtype=pl.String)
    wanted = _wanted(texts)
    if not wanted:
        return [False] * len(column)
    likely = column.str.contains_any(_beginnings(wanted)).fill_null(False)
    sure = pl.Series([False] * len(column), dtype=pl.Boolean)
    found = column.filter(likely).str.contains_any(wanted)
    return sure.scatter(likely.arg_true(), found).to_list() if len(found) else sure.to_list()


def texts_held(rows: Iterable[str | None], texts: Iterable[str]) -> set[str]:
    """Those of the texts that stand whole, anywhere, in some row."""
    column = pl.Series(rows, dtype=pl.String)
    wanted = _wanted(texts)
    if not wanted:
        return set()
    likely = column.filter(column.str.contains_any(_beginnings(wanted)).fill_null(False))
    if not len(likely):
        return set()
    return set(likely.str.extract_many(wanted, overlapping=True).explode().drop_nulls().to_list())


def _wanted(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if text})


def _beginnings(texts: list[str]) -> list[str]:
    return sorted({text[:PREFIX_CHARACTERS] for text in texts})
