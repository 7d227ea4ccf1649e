"""How inputs are mutated: bytes flipped, cut, repeated and replaced; JSON values put in another shape."""

from __future__ import annotations

import copy
import random
from typing import Any

NEST = "nested a thousand deep"
"""Stands in a value for a nest, which Python could not write as JSON."""
NASTY = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\0", b"\xff\xfe", b"\xed\xa0\xbd", b"\n", b"\r", b"\xe2\x80\xa8",
    b"\\ud83d", b"1e999", b"-1", b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b"null", b"NaN", b"true", b";", b"]]>",
    b"\xef\xbb\xbf", b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"window.YTD.tweets.part0 = [", b'"id": {}', b"\t" * 300,
]  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 1e300, float("nan"), 10**30, "", "x", "\ud83d", "\0", "a" * 300, [], {}, [None], [[]],
    {"id": []}, {"": {}}, [{}] * 3, [1, "2", {}], "2024-99-99", "-1", "9" * 25, {"id": {"id": {}}}, 2**63, [["a"] * 3],
    10**400, NEST,
]  # fmt: skip


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at:at] = chance.choice(NASTY)
        elif kind == 2:
            del data[at : at + chance.choice([1, 3, 50, 500])]
        elif kind == 3:
            data[at : at + 4] = chance.choice(NASTY)
        elif kind == 4:
            data[at:at] = data[at : at + chance.choice([10, 300])]
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def reshaped(value: Any, chance: random.Random) -> Any:
    """A JSON value with one part, at any depth, put in another shape or taken out."""
    value = copy.deepcopy(value)
    spots = list(_spots(value))
    if not spots:
        return chance.choice(ODD)
    holder, key = chance.choice(spots)
    if chance.random() < 0.15 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = chance.choice(ODD)
    return value


def _spots(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _spots(value[key])


def nested(chance: random.Random) -> bytes:
    """JSON nested deep, and whole."""
    depth, (begin, end) = chance.choice([1000, 1000, 100_000]), chance.choice([(b"[", b"]"), (b'{"text":', b"}")])
    return begin * depth + b'"mark"' + end * depth
