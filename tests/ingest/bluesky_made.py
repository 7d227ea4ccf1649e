"""Bluesky's files made by hand: lines of Jetstream, views as apps see them, and repositories (CAR) with their tree."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

ANN, BOB, EVE = "did:plc:ann", "did:plc:bob", "did:web:eve.example"
KEY = "3l3qo2vuowo2b"  # made at 2024-09-09T19:46:02.246036Z
STATED = "2024-09-09T19:46:02.102Z"
US = 1725911162329308
POST, REPOST = "app.bsky.feed.post", "app.bsky.feed.repost"


def uri(did: str = ANN, key: str = KEY, collection: str = POST) -> str:
    return f"at://{did}/{collection}/{key}"


def ref(did: str = ANN, key: str = KEY, collection: str = POST) -> dict[str, str]:
    return {"uri": uri(did, key, collection), "cid": "bafyreihpvg5wyyjft5q7zc3ot6gemus3kxij7tdxr35qbnqv4jefgp22za"}


def record(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"$type": POST, "text": text, "createdAt": STATED, **fields}


def link(start: Any, end: Any, address: Any) -> dict[str, Any]:
    feature = {"$type": "app.bsky.richtext.facet#link", "uri": address}
    return {"index": {"byteStart": start, "byteEnd": end}, "features": [feature]}


def commit(
    given: dict[str, Any] | None,
    *,
    did: str = ANN,
    key: str = KEY,
    collection: str = POST,
    operation: str = "create",
    us: int = US,
) -> dict[str, Any]:
    """A line of /subscribe about one record; no record for a deletion."""
    body = {"rev": "3l3qo2vutsw2b", "operation": operation, "collection": collection, "rkey": key}
    return {
        "did": did,
        "time_us": us,
        "kind": "commit",
        "commit": body if given is None else {**body, "record": given, "cid": "bafyreig"},
    }


def account(active: Any, status: str | None = None, *, did: str = ANN, at: str = "2024-09-10T00:00:00.000Z") -> Any:
    body = {"active": active, "did": did, "seq": 1, "time": at, **({"status": status} if status else {})}
    return {"did": did, "time_us": US, "kind": "account", "account": body}


def frame(kind: str, **payload: Any) -> dict[str, Any]:
    """A line of subscribeEvents."""
    return {"$type": "message", "payload": {"$type": f"network.bsky.jetstream.subscribeEvents#{kind}", **payload}}


def view(text: str = "hello", *, did: str = ANN, key: str = KEY, **fields: Any) -> dict[str, Any]:
    """A post as an app sees it. `record` and `author` add to the record's and author's own fields."""
    return {
        "uri": uri(did, key),
        "cid": "bafyreig",
        "author": {"did": did, "handle": f"{did[-3:]}.example", "labels": [], **fields.pop("author", {})},
        "record": record(text, **fields.pop("record", {})),
        "replyCount": 3,
        "repostCount": 0,
        "likeCount": 5,
        "indexedAt": "2024-09-09T19:46:03.000Z",
        "labels": [],
        **fields,
    }


def put(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in records), encoding="utf-8")
    return path


class Link(bytes):
    """The address of a block."""


def cbor(value: Any) -> bytes:
    """DAG-CBOR, written from its definition."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return _cbor_head(0, value) if value >= 0 else _cbor_head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, Link):
        return b"\xd8\x2a" + _cbor_head(2, len(value) + 1) + b"\0" + value
    if isinstance(value, bytes):
        return _cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return _cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _cbor_head(4, len(value)) + b"".join(map(cbor, value))
    keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
    return _cbor_head(5, len(keys)) + b"".join(cbor(key) + cbor(value[key]) for key in keys)


def _cbor_head(major: int, number: int) -> bytes:
    for limit, sign, size in ((24, number, 0), (1 << 8, 24, 1), (1 << 16, 25, 2), (1 << 32, 26, 4), (1 << 64, 27, 8)):
        if number < limit:
            return bytes([major << 5 | sign]) + (number.to_bytes(size, "big") if size else b"")
    raise OverflowError


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def cid(data: bytes, codec: int = 0x71) -> Link:
    return Link(bytes([1, codec, 0x12, 0x20]) + hashlib.sha256(data).digest())


def block(data: bytes, address: bytes | None = None) -> bytes:
    address = cid(data) if address is None else address
    return varint(len(address) + len(data)) + address + data


def tree(records: dict[str, Link]) -> dict[Link, bytes]:
    """The nodes of a tree, the root last: a key stands as high as its hash has pairs of zero bits before."""
    nodes: dict[Link, bytes] = {}

    def height(key: str) -> int:
        bits = f"{int.from_bytes(hashlib.sha256(key.encode()).digest(), 'big'):0256b}"
        return (256 - len(bits.lstrip("0"))) // 2

    def node(keys: list[str], level: int) -> Link | None:
        if not keys:
            return None
        groups: list[list[str]] = [[]]
        heads: list[str] = []
        for key in keys:
            if height(key) >= level:
                heads.append(key)
                groups.append([])
            else:
                groups[-1].append(key)
        entries, before = [], ""
        for key, after in zip(heads, groups[1:], strict=True):
            same = next(
                (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key))
            )
            entries.append({"p": same, "k": key[same:].encode(), "v": records[key], "t": node(after, level - 1)})
            before = key
        data = cbor({"l": node(groups[0], level - 1), "e": entries})
        nodes[cid(data)] = data
        return cid(data)

    top = max((height(key) for key in records), default=0)
    if node(sorted(records), top) is None:
        data = cbor({"l": None, "e": []})
        nodes[cid(data)] = data
    return nodes


def repository(
    records: dict[str, dict[str, Any]], *, did: str = ANN, rev: str | None = "3l3qo2vutsw2b", **commit_fields: Any
) -> list[bytes]:
    """A repository's CAR in pieces: its header, then each block; the commit first, then nodes, records and a blob."""
    values = {key: cbor(value) for key, value in records.items()}
    nodes = tree({key: cid(data) for key, data in values.items()})
    said = {"did": did, "version": 3, "data": list(nodes)[-1], "prev": None, "sig": b"\x01" * 64, **commit_fields}
    latest = cbor({**said, **({"rev": rev} if rev else {})})
    header = cbor({"roots": [cid(latest)], "version": 1})
    picture = b"\x89PNG a picture"
    return [
        varint(len(header)) + header,
        block(latest),
        *(block(data) for data in reversed(nodes.values())),
        *(block(data) for data in values.values()),
        block(picture, cid(picture, 0x55)),
    ]


def posts_of_a_repository(count: int) -> dict[str, dict[str, Any]]:
    """Posts under keys of one second each; every text has a mark of its own."""
    return {
        f"{POST}/3l3qo{'234567abcdefghij'[i // 16]}{'234567abcdefghij'[i % 16]}uowo2b": record(f"mark{i}x says hello")
        for i in range(count)
    }
