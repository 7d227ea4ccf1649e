"""Compressed streams (gzip, bzip2, Zstandard) of any number of parts, within limits, that say where they break off."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable
from typing import IO, Any

ENDINGS = (".gz", ".tgz", ".bz2", ".tbz2", ".zst", ".tzst")
LARGEST_RATIO = 300  # uncompressed over compressed bytes; JSON of posts reaches about 20
RATIO_COUNTS_FROM_BYTES = 256 << 20
MEMBERS_AT_THEIR_LIMIT = 8  # an archive of so many members that reach theirs is refused from there on
LONGEST_WINDOW_BYTES = 1 << 31  # dumps are packed with windows far beyond the 128 MiB that unpackers take unasked
PACKED_BLOCK = 1 << 12  # Zstandard unpacks 4 KiB to 128 MiB at most, and all of it at once


class TooLargeError(OSError):
    """A file unpacks to more than the limits allow."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"it unpacks to more than {most_bytes:,} bytes, the limit: {LARGEST_RATIO} times its size")


def most_bytes(packed_bytes: int) -> int:
    """How much a file of this size may unpack to."""
    return max(RATIO_COUNTS_FROM_BYTES, LARGEST_RATIO * packed_bytes)


class Allowance:
    """How much all members of one archive, and of archives in it, may unpack to together.

    Members can share their compressed bytes, or stand packed in what is packed again: each is harmless, and
    all together are a bomb.
    """

    def __init__(self, packed_bytes: int) -> None:
        self._most = MEMBERS_AT_THEIR_LIMIT * most_bytes(packed_bytes)
        self._left = self._most

    def spend(self, unpacked_bytes: int) -> None:
        """Count what was unpacked. Raises TooLargeError when the archive has had its share."""
        self._left -= unpacked_bytes
        if self._left < 0:
            raise TooLargeError(self._most)


def unpacked(name: str, stream: IO[bytes], packed_bytes: int, allowance: Allowance) -> IO[bytes]:
    """What a stream holds, unpacked if the ending of its name says that it is packed.

    Reading raises EOFError where the last part breaks off, OSError where one is damaged, TooLargeError at a limit.
    """
    if not name.endswith(ENDINGS):
        return stream
    inner: Any
    if name.endswith("gz"):
        inner = gzip.GzipFile(fileobj=stream)
    else:
        inner = _Parts(stream, bz2.BZ2Decompressor if name.endswith("bz2") else _Zstandard)
    return io.BufferedReader(_Limited(stream, inner, most_bytes(packed_bytes), allowance), 1 << 16)


class _Limited(io.RawIOBase):
    """An unpacking stream that refuses to go past `most` bytes, and that hands out what it has before it fails."""

    def __init__(self, packed: IO[bytes], inner: Any, most: int, allowance: Allowance) -> None:
        self._packed, self._inner, self._most, self._left = packed, inner, most, most
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._inner.read1(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            raise TooLargeError(self._most)
        self._allowance.spend(len(block))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._inner.close()
        self._packed.close()
        super().close()


class _Parts:
    """Packed parts one after another, as bzip2 and Zstandard files have them; gzip's own reader does the same.

    Python's reader of bzip2 takes a damaged part for the end, and zstandard's a file that breaks off: both
    would lose posts and say nothing.
    """

    def __init__(self, packed: IO[bytes], new: Callable[[], Any]) -> None:
        self._packed, self._new = packed, new
        self._part: Any = None

    def read1(self, size: int) -> bytes:
        while True:
            data = b""
            if self._part is None or self._part.eof:
                data = (self._part.unused_data if self._part else b"") or self._packed.read(PACKED_BLOCK)
                if not data:
                    return b""
                self._part = self._new()
            elif self._part.needs_input:
                data = self._packed.read(PACKED_BLOCK)
                if not data:
                    raise EOFError("the compressed stream breaks off")
            block: bytes = self._part.decompress(data, size)
            if block:
                return block

    def close(self) -> None:
        self._part = None


class _Zstandard:
    """zstandard's unpacker of one part, in the form of bz2's: it hands out no more than it is asked for."""

    def __init__(self) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._part = zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW_BYTES).decompressobj()
        self._held = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._part.eof and not self._held

    @property
    def needs_input(self) -> bool:
        return not self._held

    @property
    def unused_data(self) -> bytes:
        return self._part.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        if data:
            try:
                self._held = memoryview(self._part.decompress(data))
            except self._error as error:
                raise OSError(f"the compressed stream is damaged: {error}") from error
        block, self._held = bytes(self._held[:size]), self._held[size:]
        return block
