"""Packed streams: parts one after another, where they break off, and what they may unpack to."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from ingesting import ingest, posts_of, quarantine_of

from townsquare.ingest import packed
from townsquare.ingest.packed import Allowance, TooLargeError, unpacked
from townsquare.square import Square

PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstandard.compress}
POSTS = [json.dumps({"data": {"id": str(n), "text": f"post {n}"}}).encode() + b"\n" for n in range(1, 500)]


def read(ending: str, content: bytes) -> tuple[bytes, str]:
    """All that comes out, and the name of the error that ends it, if one does."""
    found = b""
    stream = unpacked(f"a.{ending}", io.BytesIO(content), len(content), Allowance(len(content)))
    try:
        while block := stream.read1(1 << 13):  # type: ignore[attr-defined]
            found += block
    except OSError as error:
        return found, type(error).__name__
    except EOFError:
        return found, "EOFError"
    return found, ""


@pytest.mark.parametrize("ending", PACK)
@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=5))
def test_parts_one_after_another_are_one_stream(ending: str, parts: list[bytes]) -> None:
    content = b"".join(map(PACK[ending], parts))
    assert read(ending, content) == (b"".join(parts), "")


@pytest.mark.parametrize("ending", PACK)
@given(data=st.data())
def test_a_stream_that_breaks_off_says_so_and_gives_what_it_has(ending: str, data: st.DataObject) -> None:
    parts = [b"a first part " * 50, b"a second part, of another length " * 90]
    packed_parts = list(map(PACK[ending], parts))
    cut = data.draw(st.integers(1, sum(map(len, packed_parts)) - 1))
    found, error = read(ending, b"".join(packed_parts)[:cut])
    assert b"".join(parts).startswith(found)
    at_the_border = cut == len(packed_parts[0])
    assert (error == "") == at_the_border
    if cut >= len(packed_parts[0]):
        assert found.startswith(parts[0])


@pytest.mark.parametrize("ending", PACK)
def test_what_follows_the_last_part_and_is_none_is_no_silent_end(ending: str) -> None:
    """Python's own reader of bzip2 takes a damaged second part for the end of the file."""
    first, second = PACK[ending](b"first"), bytearray(PACK[ending](b"second"))
    second[0] ^= 0xFF
    assert read(ending, first + bytes(second)) in [(b"first", "OSError"), (b"first", "BadGzipFile")]


def test_windows_of_two_gibibytes_are_read() -> None:
    """A frame made by hand, with a window of 2 GiB and one raw block, which zstandard refuses unless told."""
    block = b"hello"
    header = (1 | len(block) << 3).to_bytes(3, "little")
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 21 << 3]) + header + block
    with pytest.raises(zstandard.ZstdError, match="too much memory"):
        zstandard.ZstdDecompressor().decompressobj().decompress(frame)
    assert read("zst", frame) == (b"hello", "")


def test_text_is_cut_nowhere_across_blocks(square: Square, tmp_path: Path) -> None:
    lines = [json.dumps({"data": {"id": str(n), "text": "é😀" * 900}}, ensure_ascii=False) for n in range(1, 300)]
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress("\n".join(lines).encode()))
    assert ingest(square, tmp_path / "a.jsonl.zst").counts["kept"] == 299
    assert {row["text"] for row in posts_of(square).values()} == {"é😀" * 900}


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "RATIO_COUNTS_FROM_BYTES", 1 << 20)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("ending", PACK)
def test_a_packed_bomb_is_stopped_at_the_limit(ending: str) -> None:
    content = PACK[ending](bytes(16 << 20))
    stream = unpacked(f"a.{ending}", io.BytesIO(content), len(content), Allowance(len(content)))
    blocks = iter(lambda: stream.read1(1 << 16), b"")  # type: ignore[attr-defined]
    found: list[bytes] = []
    with pytest.raises(TooLargeError, match="300 times its size"):
        found.extend(blocks)
    assert sum(map(len, found)) <= packed.most_bytes(len(content))


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("ending", ["bz2", "zst"])
def test_a_packed_bomb_in_a_zip_stops_no_other_and_many_are_stopped_together(
    square: Square, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MEMBERS_AT_THEIR_LIMIT", 1)
    path = tmp_path / "a.zip"
    content = PACK[ending](POSTS[0] + bytes(3 << 20))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", b"".join(POSTS[:20]))
        for number in range(40):
            archive.writestr(f"bomb{number:02}.jsonl.{ending}", content)
        archive.writestr("z.jsonl", b"".join(POSTS[:20]))
    receipt = ingest(square, path)
    assert receipt.results["files"]["a.jsonl"]["kept"] == receipt.results["files"]["z.jsonl"]["kept"] == 20
    reasons = receipt.counts["quarantined"]
    assert reasons["broken_file"] + reasons.get("unknown_format", 0) == 40
    said = " ".join(str(row["detail"]) for row in quarantine_of(square))
    assert f"more than {packed.most_bytes(path.stat().st_size):,} bytes" in said


@pytest.mark.usefixtures("small_limits")
def test_zips_in_a_zip_that_are_bombs_together_are_refused(
    square: Square, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MEMBERS_AT_THEIR_LIMIT", 1)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("posts.jsonl", POSTS[0] + bytes(900_000))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(40):
            archive.writestr(f"{number:02}.zip", inner.getvalue())
    receipt = ingest(square, tmp_path / "a.zip")
    assert receipt.counts["quarantined"]["unfit_file"] > 20
    assert "the limit: 300 times its size" in str([row["detail"] for row in quarantine_of(square)])


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_archives_are_opened_one_deep_and_what_is_wrong_with_one_stops_no_other(square: Square, tmp_path: Path) -> None:
    good = _zip({"posts.jsonl": b"".join(POSTS)})
    files = {
        "good.zip": good,
        "deep.zip": _zip({"deeper.zip": good, "beside.jsonl": POSTS[0]}),
        "broken.zip": good[:100],
        "broken.tar.gz": b"\x1f\x8b no",
        "empty.zip": _zip({}),
        "out.zip": _zip({"../evil.jsonl": POSTS[0]}),
    }
    (tmp_path / "a.zip").write_bytes(_zip(files))
    receipt = ingest(square, tmp_path / "a.zip")
    assert receipt.counts["kept"] == len(POSTS) + 1
    found = {row["source_locator"]: (row["reason"], row["detail"]) for row in quarantine_of(square)}
    assert found["deep.zip/deeper.zip:0"] == ("unsafe_member", "it is an archive in an archive in an archive")
    assert found["out.zip/../evil.jsonl:0"] == ("unsafe_member", "its path leads out of the archive")
    assert {place for place, (reason, _) in found.items() if reason == "unfit_file"} == {
        "broken.zip:0",
        "broken.tar.gz:0",
        "empty.zip:0",
    }
    assert found["empty.zip:0"][1] == "there is nothing in it"
    assert len(found) == 5


def test_a_folder_of_archives_keeps_them_apart(square: Square, tmp_path: Path) -> None:
    """Two people's X archives in one folder: each has its own author."""
    from ingesting import js, tweet, tweets_js

    folder = tmp_path / "folder"
    folder.mkdir()
    for number in ("7", "8"):
        account = js("account", [{"account": {"accountId": number, "username": f"user{number}"}}])
        content = {"data/tweets.js": tweets_js(tweet(int(number), "mine")), "data/account.js": account}
        (folder / f"archive-{number}.zip").write_bytes(_zip(content))
    receipt = ingest(square, folder)
    assert receipt.counts == {"seen": 2, "kept": 2, "events": 0, "quarantined": {}}
    assert {uid: row["author_id"] for uid, row in posts_of(square).items()} == {"x:7": "7", "x:8": "8"}
    assert {file["format"] for file in receipt.results["files"].values()} == {"x_archive"}


def test_a_tar_that_ends_with_a_zip_is_a_tar(square: Square, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in (("first.jsonl", POSTS[0]), ("last.zip", _zip({"posts.jsonl": POSTS[1]}))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert zipfile.is_zipfile(tmp_path / "a.tar")
    assert ingest(square, tmp_path / "a.tar").counts["kept"] == 2
