"""The items of one JSON array in a stream, one at a time, past damage: what is whole is never lost to what is not."""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from townsquare.ingest.files import BLOCK, BROKEN

READ = 1 << 18
LONGEST_ITEM_CHARACTERS = 64 << 20
KEPT_CHARACTERS = 10_000
LONGEST_CLOSE = 1 << 16  # what may follow the array inside its object
BEGINS_WITHIN = 512  # characters that tell where an item begins
NEAR_THE_END = 16  # a literal, an escape or a number cut off fails this far before the end of what was read
_NEST = re.compile(r'(?:\s*(?:\[|\{\s*"[^"\\]{0,99}"\s*:))*+')
END_OF_NEST = 1 << 12  # characters at the end of a nest in which an item may still begin
_SPACE = re.compile(r"[\s,]*")
_ASSIGNMENT = re.compile(r"\ufeff?\s*[\w.$]+\s*=\s*")
_DECODER = json.JSONDecoder()


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A stretch that is no JSON item: its beginning, and why."""

    raw: str
    why: str


def items(stream: IO[bytes], begins: re.Pattern[str], key: str | None = None) -> Iterator[Any]:
    """Each item of the array that a file assigns or holds; Damaged for each stretch that is none.

    With `key` it is the array under that key of the object that the file is. After damage it goes on
    where `begins` next matches, such as `{"tweet":`. Numbers with a fraction become floats, others
    integers of any size. A single object counts as an array of it.
    """
    window = _Window(stream)
    if not window.find_start(key):
        if key is not None:
            yield Damaged(window.text[:KEPT_CHARACTERS], window.error or f"there is no array {key}")
        return
    single = window.peek() == "{"
    if not single:
        window.position += 1
    while True:
        window.skip(_SPACE)
        sign = window.peek()
        if sign == "]" and key is not None:
            if window.closes():
                return
            yield Damaged(window.leap(begins), window.error or "the array ends before its object does")
            if window.peek() == "":
                return
            continue
        if sign == "]" or (single and sign == ""):
            window.position += sign == "]"
            yield from window.rest("there is more after the end of the array")
            return
        if sign == "":
            yield Damaged("", window.error or "it ends before its array does")
            return
        found = window.item()
        if isinstance(found, _Failure):
            yield Damaged(window.leap(begins, past_nest=found.too_deep), found.why)
            if window.peek() == "":
                return
        else:
            yield found


@dataclasses.dataclass(frozen=True)
class _Failure:
    why: str
    too_deep: bool = False


class _Window:
    """A stream's text as far as it was read and is not done with yet."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.text = ""
        self.position = 0
        self.ended = False
        self.error: str | None = None

    def more(self) -> bool:
        """Read on; False at the end, or where the stream breaks off (`error` then says why)."""
        if self.ended:
            return False
        wanted, parts = max(READ, len(self.text) - self.position), []
        try:
            while wanted > 0 and (block := self._stream.read1(BLOCK)):  # type: ignore[attr-defined]
                parts.append(block)
                wanted -= len(block)
        except (OSError, RuntimeError, *BROKEN) as error:
            self.error = f"it cannot be read further: {error}"
        self.ended = wanted > 0
        self.text = self.text[self.position :] + self._decode(b"".join(parts), final=self.ended)
        self.position = 0
        return bool(parts)

    def skip(self, pattern: re.Pattern[str]) -> None:
        while True:
            match = pattern.match(self.text, self.position)
            self.position = match.end() if match else self.position
            if self.position < len(self.text) or not self.more():
                return

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def find_start(self, key: str | None) -> bool:
        """Go to the array's bracket: that of the key, or the first one after an assignment, if there is one."""
        self.more()
        assignment = _ASSIGNMENT.match(self.text) if key is None else None
        self.position = assignment.end() if assignment else 0
        opening = re.compile(r"()[\[{]" if key is None else rf'("{re.escape(key)}"\s*:\s*)\[')
        while not (match := opening.search(self.text, self.position)):
            self.position = max(self.position, len(self.text) - (0 if key is None else BEGINS_WITHIN))
            if not self.more():
                return False
        self.position = match.end(1)
        return True

    def closes(self) -> bool:
        """Whether the bracket here ends the array and what follows ends the object around it; False moves nowhere."""
        while len(self.text) - self.position < LONGEST_CLOSE and self.more():
            pass
        if not self.ended or self.error or len(self.text) - self.position > LONGEST_CLOSE:
            return False
        try:
            return isinstance(json.loads('{"": []' + self.text[self.position + 1 :]), dict)
        except (ValueError, RecursionError):
            return False

    def item(self) -> Any:
        """Decode one item, reading on where it is not whole yet; or a _Failure, having moved nowhere."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self.text) - NEAR_THE_END or error.msg.startswith("Unterminated string")
                if cut and len(self.text) - self.position < LONGEST_ITEM_CHARACTERS and self.more():
                    continue
                return _Failure(self.error or error.msg)
            except RecursionError:
                return _Failure("it is nested too deep", too_deep=True)
            except ValueError as error:  # an integer of more digits than Python takes
                return _Failure(str(error))
            if end == len(self.text) and self.more():
                continue
            self.position = end
            return found

    def leap(self, begins: re.Pattern[str], *, past_nest: bool = False) -> str:
        """Go to the next place where an item begins, or to the end; returns the beginning of what was passed over.

        In a nest every level may look like an item, and to find each too deep would take hours: it is passed over.
        """
        raw, start = "", self.position + 1
        if past_nest and (nest := _NEST.match(self.text, self.position)):
            start = max(start, nest.end() - END_OF_NEST)
        while True:
            match = begins.search(self.text, start)
            end = match.start() if match else len(self.text)
            raw += self.text[self.position : end][: KEPT_CHARACTERS - len(raw)]
            self.position = end
            if match:
                return raw
            tail = self.text[
                max(start, len(self.text) - BEGINS_WITHIN) :
            ]  # the place may stand across the border of two blocks
            if not self.more():
                return raw
            self.text, start = tail + self.text, 0
            self.position = len(tail)

    def rest(self, why: str) -> Iterator[Damaged]:
        """What follows the array, unless it is a semicolon or space."""
        self.skip(re.compile(r"[\s;]*"))
        raw = self.text[self.position :]
        if raw or self.error:
            yield Damaged(raw[:KEPT_CHARACTERS], self.error or why)
