"""Files, folders, zips and tars as a stream of members, with limits against bombs and strange paths."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from townsquare.errors import InputError

LARGEST_MEMBER_BYTES = 64 << 30
LARGEST_RATIO = 300  # uncompressed over compressed bytes; JSON of posts reaches about 20
RATIO_COUNTS_FROM_BYTES = 256 << 20
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError)


@dataclasses.dataclass(frozen=True)
class Member:
    """One file, in a folder or an archive. `unsafe` says why it must not be read."""

    name: str
    open: Callable[[], IO[bytes]]
    unsafe: str | None = None

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


def members(path: Path) -> list[Member]:
    """The members of a folder, zip or tar in a fixed order; a plain file is its own only member.

    Raises InputError for an archive that cannot be opened.
    """
    if not path.exists():
        raise InputError("there is no such file or folder", place=str(path), remedy="Mend the path.")
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file())
        return [_plain(p.relative_to(path).as_posix(), p) for p in found if not _leftover(p.name)]
    try:
        if zipfile.is_zipfile(path) or path.suffix == ".zip":
            return _zip_members(path)
        if path.name.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2")):
            return _tar_members(path)
    except BROKEN as error:
        raise InputError(f"the archive cannot be opened: {error}", place=str(path), remedy="Get it again.") from error
    return [_plain(path.name, path)]


def _plain(name: str, path: Path) -> Member:
    def opened() -> IO[bytes]:
        if path.suffix == ".gz":
            return gzip.open(path)  # type: ignore[return-value]
        return bz2.open(path) if path.suffix == ".bz2" else path.open("rb")

    return Member(name, opened)


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


def _zip_members(path: Path) -> list[Member]:
    archive = zipfile.ZipFile(path)
    return [
        Member(
            info.filename,
            (lambda info=info: archive.open(info)),  # type: ignore[misc]
            _unsafe(info.filename, info.file_size, info.compress_size),
        )
        for info in sorted(archive.infolist(), key=lambda info: info.filename)
        if not info.is_dir() and not _leftover(info.filename)
    ]


def _tar_members(path: Path) -> list[Member]:
    archive = tarfile.open(path)  # noqa: SIM115

    def opened(info: tarfile.TarInfo) -> IO[bytes]:
        stream = archive.extractfile(info)
        return stream if stream is not None else io.BytesIO()

    return [
        Member(info.name, (lambda info=info: opened(info)), _unsafe(info.name, info.size, info.size))  # type: ignore[misc]
        for info in sorted(archive.getmembers(), key=lambda info: info.name)
        if info.isfile() and not _leftover(info.name)
    ]


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines from 1, without their ends; blank ones are passed over. Only \\n ends a line."""
    for number, line in enumerate(stream, start=1):
        stripped = line.strip(b"\r\n \t\xef\xbb\xbf") if number == 1 else line.strip(b"\r\n \t")
        if stripped:
            yield number, stripped


def head(member: Member, size: int = 1 << 16) -> bytes:
    """The first bytes of a member, or none when it cannot be read."""
    try:
        with member.open() as stream:
            return stream.read(size)
    except (OSError, RuntimeError, *BROKEN):
        return b""
