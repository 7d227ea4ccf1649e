"""The search of many texts in many rows, against a plain search over plainly folded text."""

from __future__ import annotations

import random
import string

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare import traces
from townsquare.traces import Traces, held, places, rows_holding, telling

SHARED = "x" * traces.HEAD
words = st.text(st.sampled_from("aB é👩\n.-"), max_size=4)
texts = st.lists(st.builds(lambda long, tail: (SHARED if long else "") + tail, st.booleans(), words), max_size=6)
rows_of_text = st.lists(st.none() | st.lists(words | texts.map("".join), max_size=3).map("".join), max_size=6)


def plain(text: str | None) -> str:
    """Folded by other means: character by character."""
    kept = string.ascii_letters + string.digits
    return "".join(c.lower() if c in kept else c for c in text or "" if c in kept or ord(c) > 127)


@given(rows_of_text, texts, st.integers(1, 40))
def test_as_a_plain_search_finds(rows: list[str | None], texts: list[str], chunk: int) -> None:
    wanted = [plain(text) for text in texts if plain(text)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(traces, "CHUNK_BYTES", chunk)
        found = rows_holding(rows, texts).tolist()
        stands = held(rows, texts).tolist()
    assert found == [any(text in plain(row) for text in wanted) for row in rows]
    assert stands == [any(text in plain(row) for row in rows) for text in wanted]


@given(rows_of_text, texts)
def test_among_joined_posts_one_line_is_found_within_a_line_only(rows: list[str | None], texts: list[str]) -> None:
    def stands(text: str, row: str) -> bool:
        parts = [row] if "\n" in text else row.split("\n")
        return any(plain(text) in plain(part) for part in parts)

    wanted = [text for text in texts if plain(text)]
    found = rows_holding(rows, texts, joined=True).tolist()
    assert found == [any(stands(text, row or "") for text in wanted) for row in rows]


@given(rows_of_text, texts)
def test_a_place_is_where_the_words_are_in_the_rows_own_bytes(rows: list[str | None], texts: list[str]) -> None:
    wanted = [plain(text) for text in texts if plain(text)]
    found = places(rows, texts)
    for row, number, begin, end in zip(found.rows, found.traces, found.begins, found.ends, strict=True):
        assert plain((rows[row] or "").encode()[begin:end].decode()) == wanted[number]


def test_a_slice_of_a_column_is_searched_as_such() -> None:
    column = pa.chunked_array([pa.array(["one ferry", None, "two ferries"]), pa.array(["no boat", "one  FERRY!"])])
    assert rows_holding(column, ["One ferry"]).tolist() == [True, False, False, False, True]
    assert rows_holding(column.slice(2), ["One ferry"]).tolist() == [False, False, True]
    assert rows_holding(column.chunk(0).slice(1), ["ferries"]).tolist() == [False, True]
    assert rows_holding(pa.chunked_array([], pa.string()), ["a"]).tolist() == []


def test_many_traces_in_many_rows() -> None:
    rng = random.Random(3)
    said = ["".join(rng.choices(string.ascii_lowercase + " ", k=rng.randint(20, 300))) for _ in range(3000)]
    chosen = rng.sample(range(3000), 200)
    rows = [f"so {said[i].upper()}, he said" if i % 2 else said[i] for i in range(3000)]
    assert np.flatnonzero(rows_holding(rows, [said[i] for i in chosen])).tolist() == sorted(chosen)


def test_a_trace_tells_the_text_to_nobody_and_survives_its_file() -> None:
    text = "the secret of the fair is kept in the third drawer"
    made = telling(["x:1"], [text])
    again = Traces.joined([Traces.from_table(made.to_table()), made])
    assert len(again) == 1
    assert again.uids.to_pylist() == ["x:1"]
    assert rows_holding(["no", f"RT: “{text}”"], again).tolist() == [False, True]
    torn = [text.replace(" kept", "\nkept")]
    older = Traces.from_table(made.to_table().drop_columns("one_line"))  # of which nobody knows: looked for everywhere
    assert [rows_holding(torn, known, joined=True).item() for known in (made, older)] == [False, True]
    columns = [column.combine_chunks().buffers() for column in made.to_table().columns]
    assert not any(b"secret" in buffer.to_pybytes() for buffers in columns for buffer in buffers if buffer)


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("@ann @bob the ferry leaves from the pier at noon", "the ferry leaves from the pier at noon"),
        ("write to me, ann@example.org, about the big fair of May", "write to me, [email], about the big fair of May"),
        ("call 020 7946 0958, and ask for who repairs the clocks", "call [phone], and ask for who repairs the clocks"),
        ("Our own words about this big story https://t.co/abcdefg", "Our own words about this big story https://x.org/a"),
    ],
)  # fmt: skip
def test_a_copy_that_masks_or_drops_parts_is_found_by_the_longest_stretch(text: str, copy: str) -> None:
    assert rows_holding([copy, "something else entirely, and as long"], telling(["x:1"], [text])).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "text", ["too short to tell", None, "", "!!!! ???? .... ,,,, ;;;; ::::", "@ann 12345 https://x.org/a/b/c"]
)
def test_what_tells_nothing_leaves_no_trace_of_its_stretch(text: str | None) -> None:
    assert len(telling(["x:1"], [text])) <= (1 if text and "https" in text else 0)
