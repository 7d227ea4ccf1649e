"""The search of many texts in many rows, against a plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from townsquare.traces import PREFIX_CHARACTERS, rows_holding, texts_held

SHARED = "x" * PREFIX_CHARACTERS
words = st.text(st.sampled_from("ab é👩\n"), max_size=4)
texts = st.lists(st.builds(lambda long, tail: (SHARED if long else "") + tail, st.booleans(), words), max_size=6)


@given(st.lists(st.none() | st.lists(words | texts.map("".join), max_size=3).map("".join), max_size=6), texts)
def test_as_a_plain_search_finds(rows: list[str | None], texts: list[str]) -> None:
    wanted = [text for text in texts if text]
    assert rows_holding(rows, texts) == [any(text in (row or "") for text in wanted) for row in rows]
    assert texts_held(rows, texts) == {text for text in wanted if any(text in (row or "") for row in rows)}
