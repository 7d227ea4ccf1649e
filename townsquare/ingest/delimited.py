"""Rows of CSV and its like, where a quote that never closes costs its own line and not the rest of the file."""

from __future__ import annotations

import csv
import re
import sys
from collections import deque
from collections.abc import Iterator
from typing import IO

from townsquare.ingest.files import raw_lines

MOST_READ_AGAIN = 2_000_000  # lines
_PIECES = re.compile(r"[^\r]*(?:\r|$)")


def rows(stream: IO[bytes], delimiter: str) -> Iterator[tuple[int, list[str] | None, str]]:
    """(number of the row's first line, cells or None where a quote never closes, the text); empty rows are passed over.

    Where the stream breaks off, what came before is given and then the error is raised.
    """
    csv.field_size_limit(sys.maxsize)
    source = _Lines(stream)
    while True:
        first = source.number + 1
        source.taken = []
        try:
            cells: list[str] | None = next(csv.reader(source, delimiter=delimiter, strict=True))
        except StopIteration:
            break
        except csv.Error:
            cells = _as_written(source.taken, delimiter)
            if cells is None:
                source.give_back(1)
        if cells != []:
            yield first, cells, "".join(source.taken).rstrip("\r\n")
    if source.error is not None:
        raise source.error


def _as_written(taken: list[str], delimiter: str) -> list[str] | None:
    """The cells of one line whose quotes are not as they should be, but close; None where one stays open.

    Over several lines the quote that closes belongs to another row: then the first line is at fault.
    """
    if len(taken) > 1:
        return None
    lines = iter([*taken, ""])
    cells = next(csv.reader(lines, delimiter=delimiter))
    return cells if next(lines, None) == "" else None


class _Lines:
    """A stream's lines as text, which remembers those taken for the current row and takes them back."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._source = self._read(stream)
        self._returned: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0
        self._given_back = 0
        self.error: Exception | None = None

    def _read(self, stream: IO[bytes]) -> Iterator[str]:
        first = True
        try:
            for line in raw_lines(stream):
                text = line.decode("utf-8-sig" if first else "utf-8", errors="replace").replace("\0", "")
                first = False
                pieces = [piece for piece in _PIECES.findall(text) if piece] if "\r" in text else [text]
                yield from pieces[:-1]
                yield (pieces[-1] if pieces else "") + "\n"
        except Exception as error:  # raised again once the rows before it were given
            self.error = error

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._source, None)
        if line is None:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self, keep: int) -> None:
        """Return the current row's lines but the first `keep`, to be read again as rows of their own.

        A file of open quotes only would be read again for each: past MOST_READ_AGAIN all of it is kept.
        """
        if self._given_back > MOST_READ_AGAIN:
            return
        self._returned.extendleft(reversed(self.taken[keep:]))
        self.number -= len(self.taken) - keep
        self._given_back += len(self.taken) - keep
        del self.taken[keep:]
