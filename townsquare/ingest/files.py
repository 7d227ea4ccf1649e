"""Files, folders, zips and tars as a stream of members, with limits against bombs and strange paths."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any

from townsquare.errors import InputError
from townsquare.ingest.text import sound

LARGEST_MEMBER_BYTES = 64 << 30
LARGEST_RATIO = 300  # uncompressed over compressed bytes; JSON of posts reaches about 20
RATIO_COUNTS_FROM_BYTES = 256 << 20
LONGEST_LINE_BYTES = 256 << 20
CUT_LINE_BYTES = 1 << 16  # what is kept of a line beyond that
BLOCK = 1 << 14  # a zip's member fails its checksum with the last block, which is lost then
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2")
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, struct.error)
"""What reading a damaged file raises, besides OSError and RuntimeError (a zip's unknown compression, a password)."""


class TooLargeError(OSError):
    """A file unpacks to more than the limits allow."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One file, in a folder or an archive. `unsafe` says why it must not or cannot be read."""

    name: str
    open: Callable[[], IO[bytes]]
    unsafe: str | None = None

    @property
    def stem(self) -> str:
        """The file's name without folders and its last ending."""
        name = self.name.rpartition("/")[2]
        return name.rpartition(".")[0] or name


def members(path: Path, open_files: ExitStack) -> list[Member]:
    """The members of a folder, zip or tar in a fixed order; a plain file is its own only member.

    They can be read until `open_files` closes. Raises InputError for an archive that cannot be opened.
    """
    if not path.exists():
        raise InputError("there is no such file or folder", place=str(path), remedy="Mend the path.")
    if path.is_dir():
        return _in_order(_folder_members(path))
    if not path.is_file():
        raise InputError("it is neither a file nor a folder", place=str(path), remedy="Mend the path.")
    try:
        if zipfile.is_zipfile(path) or path.suffix == ".zip":
            return _in_order(_zip_members(path, open_files))
        if path.name.endswith(TARS):
            return _in_order(_tar_members(path, open_files))
    except (*BROKEN, ValueError, OverflowError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, (gzip.BadGzipFile, TooLargeError)) and error.errno:
            raise
        raise InputError(f"the archive cannot be opened: {error}", place=str(path), remedy="Get it again.") from error
    return _in_order([_plain(path.name, path)])


def _in_order(found: Iterable[Member]) -> list[Member]:
    """Sorted by name; a name that comes again is numbered, so that every row's place is its own."""
    seen: Counter[str] = Counter()
    result = []
    for member in sorted(found, key=lambda member: member.name):
        name = sound(member.name)
        seen[name] += 1
        result.append(dataclasses.replace(member, name=name if seen[name] == 1 else f"{name}#{seen[name]}"))
    return result


def _folder_members(folder: Path) -> Iterator[Member]:
    inside = folder.resolve()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if _leftover(name) or not path.is_file():
            continue
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(inside)
        yield dataclasses.replace(_plain(name, path), unsafe="it is a link out of the folder" if leads_out else None)


def _plain(name: str, path: Path) -> Member:
    def opened() -> IO[bytes]:
        if path.suffix == ".gz":
            return _limited(gzip.open(path), path.stat().st_size)
        return _limited(bz2.open(path), path.stat().st_size) if path.suffix == ".bz2" else path.open("rb")

    return Member(name, opened)


class _Limited(io.RawIOBase):
    """An unpacking stream that refuses to go past `most` bytes, and that hands out what it has before it fails."""

    def __init__(self, inner: Any, most: int) -> None:
        self._inner, self._left, self._most = inner, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._inner.read1(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            raise TooLargeError(f"it unpacks to more than {self._most:,} bytes, {LARGEST_RATIO} times its size")
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._inner.close()
        super().close()


def _limited(stream: Any, packed_bytes: int) -> IO[bytes]:
    return io.BufferedReader(_Limited(stream, max(RATIO_COUNTS_FROM_BYTES, LARGEST_RATIO * packed_bytes)), 1 << 16)


def _leftover(name: str) -> bool:
    """What macOS leaves in archives."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and (parts[-1].startswith("._") or parts[-1] == ".DS_Store"))


def _unsafe(name: str, size: int, compressed: int) -> str | None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        return "its path leads out of the archive"
    if size > LARGEST_MEMBER_BYTES:
        return f"it holds more than {LARGEST_MEMBER_BYTES >> 30} GiB"
    if size > RATIO_COUNTS_FROM_BYTES and size > LARGEST_RATIO * max(compressed, 1):
        return f"it unpacks to more than {LARGEST_RATIO} times its size"
    return None


def _zip_members(path: Path, open_files: ExitStack) -> Iterator[Member]:
    archive = open_files.enter_context(zipfile.ZipFile(path))
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]  # is_dir() fails without a name
    # Members may share their compressed bytes, so that each looks harmless and all together are a bomb.
    total = sum(info.file_size for info in infos)
    if total > max(RATIO_COUNTS_FROM_BYTES, LARGEST_RATIO * path.stat().st_size):
        raise TooLargeError(f"it unpacks to {total:,} bytes, more than {LARGEST_RATIO} times its size")
    for info in infos:
        if not _leftover(info.filename):
            yield Member(
                info.filename,
                (lambda info=info: archive.open(info)),  # type: ignore[misc]
                _unsafe(info.filename, info.file_size, info.compress_size),
            )


def _tar_members(path: Path, open_files: ExitStack) -> Iterator[Member]:
    """A compressed tar is unpacked once into a temporary file: seeking in it would unpack it again for every member."""
    cut = None
    if path.name.endswith(".tar"):
        whole: IO[bytes] = open_files.enter_context(path.open("rb"))
    else:
        whole, cut = _unpacked(path, open_files)
    archive = open_files.enter_context(tarfile.TarFile(fileobj=whole))

    def opened(info: tarfile.TarInfo) -> IO[bytes]:
        return archive.extractfile(info) or io.BytesIO()

    infos = []
    try:
        while (info := archive.next()) is not None:
            infos.append(info)
    except tarfile.TarError as error:
        if not infos:
            raise
        cut = cut or str(error)
    for info in infos:
        if info.isdir() or _leftover(info.name):
            continue
        plain = info.isfile() and not info.issparse()
        unsafe = _unsafe(info.name, info.size, info.size) if plain else "it is a link, a device or has holes"
        yield Member(info.name, (lambda info=info: opened(info)), unsafe)  # type: ignore[misc]
    if cut is not None:
        yield Member("(end of archive)", io.BytesIO, f"the archive breaks off, what follows is lost: {cut}")


def _unpacked(path: Path, open_files: ExitStack) -> tuple[IO[bytes], str | None]:
    """The tar inside a compressed file, and why it breaks off if it does."""
    whole = open_files.enter_context(tempfile.TemporaryFile(prefix="townsquare-"))  # noqa: SIM115
    opener: Any = bz2.open if path.name.endswith(".bz2") else gzip.open
    cut = None
    with _limited(opener(path), path.stat().st_size) as packed:
        try:
            while block := packed.read1(BLOCK):  # type: ignore[attr-defined]
                whole.write(block)
        except TooLargeError:
            raise
        except (EOFError, zlib.error, OSError) as error:
            if not whole.tell():
                raise
            cut = str(error)
    whole.seek(0)
    return whole, cut


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines from 1, without their ends; blank ones are passed over. Only \\n ends a line.

    Where the stream breaks off, the last incomplete line is given before the error is raised. Of a
    line beyond LONGEST_LINE_BYTES only the beginning is given.
    """
    number = 1
    for line in raw_lines(stream):
        stripped = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip(b"\r\n \t")
        if stripped:
            yield number, stripped
        number += 1


def raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """What stands between the line feeds, all of it; see `lines`."""
    parts: list[bytes] = []
    held = 0
    broken: Exception | None = None
    while True:
        try:
            block = stream.read1(BLOCK)  # type: ignore[attr-defined]
        except (OSError, RuntimeError, *BROKEN) as error:
            block, broken = b"", error
        if not block:
            break
        first, *rest = block.split(b"\n")
        if held <= LONGEST_LINE_BYTES:
            parts.append(first)
            held += len(first)
            if held > LONGEST_LINE_BYTES:
                parts = [b"".join(parts)[:CUT_LINE_BYTES]]
        if rest:
            yield b"".join(parts)
            yield from rest[:-1]
            parts, held = [rest[-1]], len(rest[-1])
    yield b"".join(parts)
    if broken is not None:
        raise broken


def head(member: Member, size: int = 1 << 16) -> bytes:
    """The first bytes of a member, as many as can be read."""
    found = b""
    try:
        with member.open() as stream:
            while len(found) < size and (block := stream.read(min(size - len(found), 4096))):
                found += block
    except (OSError, RuntimeError, *BROKEN):
        pass
    return found
