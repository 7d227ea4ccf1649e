"""Packing and order: every document once an epoch, by a pure function, with little padding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.errors import InputError
from townsquare.train.data import Documents, Order, batch_of, pack, read_documents, validation_batches

LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=60)


def documents_of(lengths) -> Documents:
    """Documents whose every token is told apart: token k of document d is 1000 d + k."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    ids = np.concatenate([1000 * d + np.arange(n) for d, n in enumerate(lengths)]).astype(np.int64)
    uids = pa.chunked_array([[[f"x:{d}"] for d in range(len(lengths))]], pa.list_(pa.string()))
    return Documents(ids, np.ones(len(ids), dtype=bool), offsets, uids)


@settings(deadline=None)
@given(lengths=LENGTHS, row_length=st.integers(8, 48), seed=st.integers(0, 5))
def test_every_token_stands_in_one_row_of_an_epoch(lengths, row_length, seed):
    rows = pack(np.array(lengths), row_length, np.random.default_rng(seed))
    seen = Counter((p.document, k) for row in rows for p in row for k in range(p.start, p.stop))
    assert set(seen.values()) == {1}
    assert len(seen) == sum(lengths)
    assert all(sum(p.stop - p.start for p in row) <= row_length for row in rows)
    cut = Counter(p.document for row in rows for p in row)
    assert all(cut[d] == -(-n // row_length) for d, n in enumerate(lengths))


@settings(deadline=None)
@given(lengths=LENGTHS, rows_per_step=st.integers(1, 5), seed=st.integers(0, 3), data=st.data())
def test_a_step_is_the_same_whoever_computes_it_and_in_any_order(lengths, rows_per_step, seed, data):
    documents = documents_of(lengths)
    in_turn = Order(documents, 32, rows_per_step, seed)
    expected = [in_turn.step(step) for step in range(12)]
    jumping = Order(documents, 32, rows_per_step, seed)
    for step in data.draw(st.permutations(range(12))):
        assert jumping.step(step) == expected[step]
    assert all(len(rows) == rows_per_step for rows in expected)


@settings(deadline=None)
@given(lengths=LENGTHS, rows_per_step=st.integers(1, 5), seed=st.integers(0, 3))
def test_documents_come_once_an_epoch(lengths, rows_per_step, seed):
    order = Order(documents_of(lengths), 32, rows_per_step, seed)
    rows = [row for step in range(30) for row in order.step(step)]
    epoch = 0
    while len(rows) >= (size := len(order.epoch(epoch))):
        seen = Counter((p.document, k) for row in rows[:size] for p in row for k in range(p.start, p.stop))
        assert set(seen.values()) == {1}
        assert len(seen) == sum(lengths)
        rows, epoch = rows[size:], epoch + 1


def test_epochs_and_seeds_shuffle_anew():
    documents = documents_of([20] * 40)
    order, other = Order(documents, 40, 4, 1), Order(documents, 40, 4, 2)
    assert order.epoch(0) != order.epoch(1)
    assert order.epoch(0) != other.epoch(0)


def test_padding_of_short_posts_is_under_two_percent():
    lengths = np.random.default_rng(0).geometric(1 / 25, 4000) + 5
    rows = pack(lengths, 256, np.random.default_rng(0))
    assert 1 - lengths.sum() / (len(rows) * 256) < 0.02


def test_a_batch_by_hand():
    documents = documents_of([3, 4])
    documents.loss[:] = [False, True, True, False, False, True, True]
    rows = pack(documents.lengths, 8, np.random.default_rng(0))
    batch = batch_of(documents, rows, 8)
    assert batch.ids.tolist() == [[1000, 1001, 1002, 1003, 0, 1, 2, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0]]
    assert batch.segment.tolist() == [[0, 0, 0, 0, 1, 1, 1, -1]]
    assert batch.targets.tolist() == [[1001, 1002, 1003, 0, 1, 2, 0, 0]]
    assert batch.counts.tolist() == [[False, True, True, False, True, True, False, False]]


def test_first_steps_are_those_at_which_a_document_is_read():
    documents = documents_of([10, 50, 20, 5, 31, 8, 8, 8])
    order = Order(documents, 32, 1, 3)
    read: dict[int, int] = {}
    for step in range(4):
        for piece in order.step(step)[0]:
            read.setdefault(piece.document, step)
    assert order.first_steps(4).tolist() == [read.get(d, -1) for d in range(8)]
    assert -1 in order.first_steps(1)


def test_validation_reads_every_document_once_in_a_fixed_order():
    documents = documents_of([10, 50, 20, 5])
    ids = [batch.ids[batch.segment >= 0] for batch in validation_batches(documents, 32, 2)]
    assert sorted(np.concatenate(ids)) == sorted(documents.ids)


def test_a_broken_shard_is_named(tmp_path):
    path = tmp_path / "documents-train-00000.arrow"
    path.write_bytes(b"ARROW1\0\0 and then nothing")
    with pytest.raises(InputError, match="shard cannot be read") as caught:
        read_documents([path])
    assert caught.value.place == str(path)
