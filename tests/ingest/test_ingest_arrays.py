"""Arrays with a nest in them that no reader could follow: what stands around it is read, and soon."""

from __future__ import annotations

import io
import json
import re

import pytest

from townsquare.ingest.arrays import Damaged, items

BEGINS = re.compile(r'\{\s*"(?:id|text)"\s*:')
LEVELS = 300_000  # each looks like an item; before nests were passed over each was tried, for minutes


@pytest.mark.parametrize("opening", [b'{"text":', b"[", b'{ "text" : [', b'[\n {"a": '])
@pytest.mark.parametrize("closed", [True, False])
def test_what_stands_around_a_nest_is_read(opening: bytes, closed: bool) -> None:
    nest = opening * LEVELS + (b"1" + (b"]" if opening.endswith(b"[") else b"}") * LEVELS if closed else b"")
    whole = [b'{"id": 1, "text": "before"}', nest, b'{"id": 2, "text": "after"}', b'{"text": "last"}']
    found = list(items(io.BytesIO(b"[" + b", ".join(whole) + b"]"), BEGINS))
    read = [item for item in found if not isinstance(item, Damaged)]
    assert [item for item in read if item.get("text") in ("before", "after", "last")] == [
        json.loads(whole[i]) for i in (0, 2, 3)
    ]
    odd = [item for item in found if isinstance(item, Damaged)]
    assert any(damaged.why == "it is nested too deep" for damaged in odd)
    assert len(found) < 2000
