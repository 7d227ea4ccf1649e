"""Files, folders, zips and tars as a stream of members, with limits against bombs and strange paths."""

from __future__ import annotations

import dataclasses
import errno
import functools
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
from typing import IO

from townsquare.errors import InputError
from townsquare.ingest import packed
from townsquare.ingest.packed import LARGEST_RATIO, Allowance, TooLargeError
from townsquare.ingest.text import sound

LARGEST_MEMBER_BYTES = 64 << 30
LONGEST_LINE_BYTES = 256 << 20
CUT_LINE_BYTES = 1 << 16  # what is kept of a line beyond that
BLOCK = 1 << 14  # a zip's member fails its checksum with the last block, which is lost then
PLAIN_BLOCK = 1 << 20
HEAD_BYTES = 1 << 16
DEEPEST = 1  # archives inside an archive
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst")
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, struct.error)
"""What reading a damaged file raises, besides OSError and RuntimeError (a zip's unknown compression, a password)."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One file, in a folder or an archive. `unsafe` says why it must not or cannot be read.

    What is packed by itself (.gz, .bz2, .zst) opens unpacked. `inner` lists the members of one that is an
    archive in turn; see `unfolded`.
    """

    name: str
    open: Callable[[], IO[bytes]]
    unsafe: str | None = None
    inner: Callable[[], list[Member]] | None = None

    @property
    def stem(self) -> str:
        """The file's name without folders, the ending of its packing and its last ending."""
        name = self.name.rpartition("/")[2]
        name = next((name.removesuffix(e) for e in (".gz", ".bz2", ".zst") if name.endswith(e)), name)
        return name.rpartition(".")[0] or name

    def unfolded(self) -> list[Member]:
        """The members of this archive, named as standing in it. Raises InputError where it cannot be opened."""
        found = self.inner() if self.inner else []
        return [dataclasses.replace(member, name=f"{self.name}/{member.name}") for member in found]


@dataclasses.dataclass(frozen=True)
class _Path:
    """What the members of one path share: what closes at the end, what all may unpack to, how deep they stand."""

    open_files: ExitStack
    allowance: Allowance
    depth: int = 0


def members(path: Path, open_files: ExitStack) -> list[Member]:
    """The members of a folder, zip or tar in a fixed order; a plain file is its own only member.

    They can be read until `open_files` closes. Raises InputError for an archive that cannot be opened.
    """
    if not path.exists():
        raise InputError("there is no such file or folder", place=str(path), remedy="Mend the path.")
    if path.is_dir():
        return _in_order(_folder_members(path, open_files))
    if not path.is_file():
        raise InputError("it is neither a file nor a folder", place=str(path), remedy="Mend the path.")
    size = path.stat().st_size
    shared = _Path(open_files, Allowance(size))
    # A tar that ends with a zip would pass for one: a zip is told by its end.
    zipped = path.suffix == ".zip" or (not path.name.endswith(TARS) and zipfile.is_zipfile(path))
    if zipped or _is_archive(path.name):
        return _opened(str(path), _on_disk(path), size, shared, zipped=zipped)
    return _in_order([_file(path.name, _on_disk(path), size, shared)])


def _is_archive(name: str) -> bool:
    return name.endswith((".zip", *TARS))


def _opened(place: str, opens: Callable[[], IO[bytes]], size: int, shared: _Path, *, zipped: bool) -> list[Member]:
    """The members of one archive. `place` names it, in errors and by its ending."""
    try:
        whole = shared.open_files.enter_context(opens())
        found = _zip_members(place, whole, size, shared) if zipped else _tar_members(place, whole, size, shared)
        return _in_order(found)
    except (*BROKEN, ValueError, OverflowError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # that is an offset made up
            raise
        raise InputError(f"the archive cannot be opened: {error}", place=place, remedy="Get it again.") from error


def _in_order(found: Iterable[Member]) -> list[Member]:
    """Sorted by name; a name that comes again is numbered, so that every row's place is its own."""
    seen: Counter[str] = Counter()
    result = []
    for member in sorted(found, key=lambda member: member.name):
        name = sound(member.name)
        seen[name] += 1
        result.append(dataclasses.replace(member, name=name if seen[name] == 1 else f"{name}#{seen[name]}"))
    return result


def _folder_members(folder: Path, open_files: ExitStack) -> Iterator[Member]:
    inside = folder.resolve()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if _leftover(name) or not path.is_file():
            continue
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(inside)
        unsafe = "it is a link out of the folder" if leads_out else None
        size = path.stat().st_size
        shared = _Path(open_files, Allowance(size))
        if _is_archive(name) and not unsafe:
            yield _archive_in(name, _on_disk(path), size, shared)
        else:
            yield _file(name, _on_disk(path), size, shared, unsafe)


def _on_disk(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _file(name: str, opens: Callable[[], IO[bytes]], size: int, shared: _Path, unsafe: str | None = None) -> Member:
    """A file that is to be read by itself, unpacked where its name says that it is packed."""
    return Member(name, lambda: packed.unpacked(name, opens(), size, shared.allowance), unsafe)


def _archive_in(name: str, opens: Callable[[], IO[bytes]], size: int, shared: _Path) -> Member:
    """An archive in a folder or another archive; nothing of it is read before it is unfolded."""
    return Member(name, opens, inner=lambda: _opened(name, opens, size, shared, zipped=name.endswith(".zip")))


def _member(name: str, opens: Callable[[], IO[bytes]], size: int, shared: _Path, unsafe: str | None) -> Member:
    """A member of an archive; `size` is what it takes in there, in bytes."""
    if unsafe is not None or not _is_archive(name):
        return _file(name, opens, size, shared, unsafe)
    if shared.depth == DEEPEST:
        return _file(name, opens, size, shared, "it is an archive in an archive in an archive")
    return _archive_in(name, opens, size, dataclasses.replace(shared, depth=shared.depth + 1))


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
    if size > packed.most_bytes(compressed):
        return f"it unpacks to more than {LARGEST_RATIO} times its size"
    return None


def _zip_members(place: str, whole: IO[bytes], size: int, shared: _Path) -> Iterator[Member]:
    if isinstance(whole, zipfile.ZipExtFile):  # sought back in, it would unpack anew
        whole, _ = _spooled(place, whole, size, shared)
    archive = shared.open_files.enter_context(zipfile.ZipFile(whole))
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]  # is_dir() fails without a name
    # Members may share their compressed bytes, so that each looks harmless and all together are a bomb.
    total = sum(info.file_size for info in infos)
    if total > packed.most_bytes(size):
        raise TooLargeError(packed.most_bytes(size))
    shared.allowance.spend(total)
    for info in infos:
        if not _leftover(info.filename):
            unsafe = _unsafe(info.filename, info.file_size, info.compress_size)
            yield _member(info.filename, functools.partial(_zipped, archive, info), info.compress_size, shared, unsafe)


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info)
    except ValueError as error:  # such as a name that is said to be UTF-8 and is not
        raise zipfile.BadZipFile(str(error)) from error


def _tar_members(place: str, whole: IO[bytes], size: int, shared: _Path) -> Iterator[Member]:
    """A compressed tar is unpacked once into a temporary file: seeking in it would unpack it again for every member."""
    cut = None
    if not place.endswith(".tar") or isinstance(whole, zipfile.ZipExtFile):
        whole, cut = _spooled(place, whole, size, shared)
    archive = shared.open_files.enter_context(tarfile.TarFile(fileobj=whole))

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
        yield _member(info.name, functools.partial(opened, info), info.size, shared, unsafe)
    if cut is not None:
        yield Member("(end of archive)", io.BytesIO, f"the archive breaks off, what follows is lost: {cut}")


def _spooled(place: str, whole: IO[bytes], size: int, shared: _Path) -> tuple[IO[bytes], str | None]:
    """An archive unpacked into a temporary file, and why it breaks off if it does."""
    spool = shared.open_files.enter_context(tempfile.TemporaryFile(prefix="townsquare-"))  # noqa: SIM115
    cut = None
    with packed.unpacked(place, whole, size, shared.allowance) as stream:
        while True:
            try:
                block = stream.read1(BLOCK)  # type: ignore[attr-defined]
            except TooLargeError:
                raise
            except (EOFError, zlib.error, OSError) as error:
                if not spool.tell():
                    raise
                cut, block = str(error), b""
            if not block:
                break
            spool.write(block)
    spool.seek(0)
    return spool, cut


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


def line_batches(stream: IO[bytes], size: int) -> Iterator[list[tuple[int, bytes]]]:
    """`lines` in batches of about `size` bytes; what stands before the place where a stream breaks off comes first."""
    batch: list[tuple[int, bytes]] = []
    held = 0
    source = lines(stream)
    try:
        for number, line in source:
            batch.append((number, line))
            held += len(line)
            if held >= size:
                yield batch
                batch, held = [], 0
    except (OSError, RuntimeError, *BROKEN):
        yield batch
        raise
    yield batch


def raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """What stands between the line feeds, all of it; see `lines`."""
    parts: list[bytes] = []
    held = 0
    broken: Exception | None = None
    size = PLAIN_BLOCK if isinstance(stream, io.BufferedReader) else BLOCK
    while True:
        try:
            block = stream.read1(size)  # type: ignore[attr-defined]
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


def head(member: Member, size: int = HEAD_BYTES) -> bytes:
    """The first bytes of a member, as many as can be read, and at most HEAD_BYTES."""
    return _start(member.open)[:size]


@functools.lru_cache(maxsize=4)  # every source asks, and to unpack bzip2's first block takes a tenth of a second
def _start(opens: Callable[[], IO[bytes]]) -> bytes:
    found = b""
    try:
        with opens() as stream:
            while len(found) < HEAD_BYTES and (block := stream.read(min(HEAD_BYTES - len(found), 4096))):
                found += block
    except (OSError, RuntimeError, *BROKEN):
        pass
    return found
