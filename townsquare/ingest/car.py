"""CAR files (content-addressed archives) and the search tree of records that an account's repository is in them.

Every block is held to the hash that is its address, so a tree has no cycles and no forged records. What is
damaged, cut off or missing is told, and the rest is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import IO, Any

from townsquare.ingest.files import BLOCK, BROKEN
from townsquare.ingest.shapes import a_dict, a_list

LARGEST_BLOCK_BYTES = 4 << 20  # a record may have 1 MiB, a header or a node a few KiB
LARGEST_REPOSITORY_BYTES = 1 << 30  # of nodes and records; held in memory
LONGEST_KEY = 1024
_RECORDS, _BLOBS = b"\x01\x71\x12\x20", b"\x01\x55\x12\x20"  # version 1, DAG-CBOR or plain bytes, SHA-256 of 32 bytes
_CID_BYTES = 36


@dataclasses.dataclass(frozen=True)
class Lost:
    """What could not be read: where it stood, a short fixed reason and its particulars."""

    place: str
    reason: str
    detail: str | None = None


Cid = bytes
"""A block's address: version, content, hash kind and digest."""


class Blocks:
    """The blocks of a CAR by address, as bytes. Blobs are passed over."""

    def __init__(self) -> None:
        self.roots: list[Cid] = []
        self.lost: list[Lost] = []
        self._bytes = 0
        self._held: dict[Cid, bytes] = {}
        self._used: set[Cid] = set()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, cid: Cid) -> Any:
        """A block's value. Raises KeyError where it is missing, ValueError or RecursionError where it is damaged."""
        self._used.add(cid)
        return decoded(self._held[cid])

    def unused(self) -> list[Cid]:
        return [cid for cid in self._held if cid not in self._used]

    def add(self, number: int, cid: Cid, data: bytes) -> None:
        """Keep a block. Raises _Ends where all together are more than the limit."""
        if cid[len(_RECORDS) :] != hashlib.sha256(data).digest():
            self.lost.append(Lost(f"block {number}", "damaged_block", "its content has another hash"))
            return
        self._bytes += len(data)
        if self._bytes > LARGEST_REPOSITORY_BYTES:
            raise _Ends(f"its records are more than {LARGEST_REPOSITORY_BYTES:,} bytes")
        self._held[cid] = data


def decoded(data: bytes) -> Any:
    """DAG-CBOR as Python values; links are the bytes of their addresses."""
    import libipld

    return libipld.decode_dag_cbor(data)


def read_blocks(stream: IO[bytes]) -> Blocks:
    """Read a whole CAR, as far as it can be read."""
    reader, blocks, number = _Reader(stream), Blocks(), 0
    try:
        _header(reader, blocks)
        while not reader.at_end():
            number += 1
            _block(reader, blocks, number)
    except _Ends as error:
        blocks.lost.append(Lost(f"block {number}", "broken_file", str(error)))
    return blocks


def _header(reader: _Reader, blocks: Blocks) -> None:
    length = reader.length()
    if length > LARGEST_BLOCK_BYTES:
        raise _Ends("its header has no possible length")
    try:
        header = a_dict(decoded(reader.exactly(length)))
    except (ValueError, RecursionError) as error:
        blocks.lost.append(Lost("header", "damaged_block", str(error)))
        return
    blocks.roots = [root for root in a_list(header.get("roots")) if isinstance(root, bytes)]


def _block(reader: _Reader, blocks: Blocks, number: int) -> None:
    length = reader.length()
    cid = reader.exactly(min(length, _CID_BYTES))
    left = length - len(cid)
    if len(cid) == _CID_BYTES and cid.startswith(_RECORDS) and left <= LARGEST_BLOCK_BYTES:
        blocks.add(number, cid, reader.exactly(left))
        return
    if not cid.startswith(_BLOBS):
        why = f"{length:,} bytes under an address that is no record's"
        blocks.lost.append(Lost(f"block {number}", "damaged_block", why))
    reader.skip(left)


class _Ends(Exception):
    """The file ends, or cannot be read on."""


class _Reader:
    """Bytes of a stream, with no trust in the lengths that it states."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._rest = stream, b""

    def at_end(self) -> bool:
        self._rest = self._rest or self._more()
        return not self._rest

    def _more(self) -> bytes:
        try:
            return self._stream.read(BLOCK)
        except (OSError, RuntimeError, *BROKEN) as error:
            raise _Ends(f"it cannot be read further: {error}") from error

    def exactly(self, size: int) -> bytes:
        parts = []
        while size > 0:
            if self.at_end():
                raise _Ends(f"it breaks off {size:,} bytes before the end of a block")
            parts.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.exactly(min(size, BLOCK)))

    def length(self) -> int:
        """An unsigned varint of at most nine bytes, as the format has it."""
        value = 0
        for shift in range(0, 63, 7):
            [byte] = self.exactly(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _Ends("a length in it is no number")


def commit(blocks: Blocks) -> dict[str, Any] | None:
    """The repository's latest commit: the first root; where that is lost, the commit that no other comes after."""
    for cid in blocks.roots:
        if (found := _commit_at(blocks, cid)) is not None:
            return found
    others = [found for cid in blocks.unused() if (found := _commit_at(blocks, cid)) is not None]
    return max(others, key=lambda found: (str(found.get("rev") or ""), found["data"]), default=None)


def _commit_at(blocks: Blocks, cid: Cid) -> dict[str, Any] | None:
    try:
        found = a_dict(blocks.take(cid))
    except (KeyError, ValueError, RecursionError):
        return None
    return found if isinstance(found.get("did"), str) and isinstance(found.get("data"), bytes) else None


def records(blocks: Blocks, root: Cid) -> Iterator[tuple[str, Cid] | Lost]:
    """Each record's key (COLLECTION/KEY) and address in the order of the keys; Lost for what the tree lacks.

    Hashes make a cycle impossible; a node or key that comes twice would double records without end.
    """
    seen: set[Cid | str] = set()
    stack: list[tuple[str, Cid] | Cid] = [root]
    number = 0
    while stack:
        number += 1
        item = stack.pop()
        name = item[0] if isinstance(item, tuple) else item
        if name in seen:
            yield Lost(f"entry {number}", "damaged_tree", "a node or a key stands in it twice")
        elif isinstance(item, tuple):
            yield item
        else:
            try:
                stack += reversed(list(_parts(a_dict(blocks.take(item)))))
            except KeyError:
                yield Lost(f"entry {number}", "missing_block", "a node of the tree: its records are lost")
            except (ValueError, RecursionError) as error:
                yield Lost(f"entry {number}", "damaged_tree", str(error))
        seen.add(name)


def _parts(node: dict[str, Any]) -> Iterator[tuple[str, Cid] | Cid]:
    """A node's subtrees and records, left to right. Raises ValueError where it is no node."""
    if not isinstance(node.get("e"), list):
        raise ValueError("a node has no entries")
    if isinstance(node.get("l"), bytes):
        yield node["l"]
    key = b""
    for entry in node["e"]:
        kept, rest, record = (a_dict(entry).get(name) for name in ("p", "k", "v"))
        if not (isinstance(kept, int) and isinstance(rest, bytes) and isinstance(record, bytes)):
            raise ValueError("an entry of a node has another form")
        if not 0 <= kept <= len(key) or kept + len(rest) > LONGEST_KEY:
            raise ValueError("a key in a node cannot be")
        key = key[:kept] + rest
        yield key.decode("utf-8", errors="replace"), record
        if isinstance(entry.get("t"), bytes):
            yield entry["t"]
