"""Damaged and hostile files: the right error for what cannot be read, and nothing lost of what can."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import tarfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from ingesting import account_js, ingest, posts_of, quarantine_of, tweet, tweets_js

from townsquare.errors import ConfigError, InputError, StaleError
from townsquare.ingest import files, packed, tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run
from townsquare.square import Square

POSTS = "".join(
    json.dumps({"data": {"id": str(i), "text": f"post number {i} éé"}}) + "\n" for i in range(1, 2001)
).encode()


def refused(square: Square, path: Path, message: str, **settings: object) -> InputError:
    """The error for a path, which names the path and what to do, and leaves the square without a receipt."""
    with pytest.raises(InputError, match=message) as caught:
        run(square, IngestConfig(paths=(path,), **settings))  # type: ignore[arg-type]
    assert caught.value.exit_code == 4
    assert path.name in str(caught.value.place)
    assert caught.value.remedy
    assert not list(square.receipts.glob("*.json"))
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.json", b"", "format is not known: it is empty"),
        ("blank.csv", b" \n\n", "format is not known: it is empty"),
        ("picture.png", b"\x89PNG\r\n\x1a\n", "format is not known: it begins with"),
        ("other.json", b'{"hello": 1}', "format is not known"),
        ("words.txt", b"just words", "format is not known"),
        ("utf16.csv", "id,text\n1,a".encode("utf-16"), "format is not known"),
        ("broken.zip", b"PK\x03\x04 and then nothing", "the archive cannot be opened"),
        ("empty.zip", b"", "the archive cannot be opened"),
        ("broken.tar.gz", b"\x1f\x8b\x08\x00 no", "the archive cannot be opened"),
        ("notgzip.tgz", b"hello", "the archive cannot be opened"),
        ("broken.tar.bz2", b"BZh9 no", "the archive cannot be opened"),
        ("broken.tar", b"not a tar at all" * 50, "the archive cannot be opened"),
        ("broken.parquet", b"PAR1 and no more", "Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused(
    square: Square, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if name == "broken.parquet":
        receipt = ingest(square, path)
        assert receipt.counts["quarantined"] == {"broken_file": 1}
        assert message in quarantine_of(square)[0]["detail"]
        return
    error = refused(square, path, message)
    if "format" in message:
        assert "x_archive" in str(error.remedy)


def test_missing_paths_empty_folders_and_strange_settings(square: Square, tmp_path: Path) -> None:
    refused(square, tmp_path / "nowhere.zip", "no such file")
    (tmp_path / "empty").mkdir()
    refused(square, tmp_path / "empty", "nothing in it")
    with zipfile.ZipFile(tmp_path / "hollow.zip", "w"):
        pass
    refused(square, tmp_path / "hollow.zip", "nothing in it")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"), ExitStack() as open_files:
        files.members(tmp_path / "pipe", open_files)
    (tmp_path / "a.csv").write_text("text\nhi\n")
    with pytest.raises(InputError, match="there is no format 'xml'") as caught:
        run(square, IngestConfig(paths=(tmp_path / "a.csv",), format="xml"))
    assert "x_api_v2" in str(caught.value.remedy)
    for wrong in ({"paths": ()}, {"network": "myspace"}, {"name": "../a"}, {"name": "a/b"}, {"name": ""}):
        with pytest.raises(ConfigError) as config_error:
            IngestConfig(**({"paths": (tmp_path,)} | wrong))  # type: ignore[arg-type]
        assert config_error.value.exit_code == 2
        assert config_error.value.remedy
    with pytest.raises(StaleError, match="no posts") as stale:
        tables.read_posts(square)
    assert "townsquare ingest" in str(stale.value.remedy)


def test_one_bad_member_stops_no_other(square: Square, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "posts.jsonl").write_bytes(POSTS)
    (folder / "empty.json").write_bytes(b"")
    (folder / "notes.txt").write_text("hello")
    (folder / "._posts.jsonl").write_bytes(b"leftover")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "posts.jsonl").write_bytes(POSTS)
    receipt = ingest(square, folder)
    assert receipt.counts == {"seen": 2002, "kept": 2000, "events": 0, "quarantined": {"unknown_format": 2}}
    assert {row["source_locator"] for row in quarantine_of(square)} == {"empty.json:0", "notes.txt:0"}


@pytest.mark.parametrize("ending", ["gz", "bz2"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_cut_compressed_file_keeps_its_whole_lines(square: Square, tmp_path: Path, ending: str, share: float) -> None:
    packed = gzip.compress(POSTS) if ending == "gz" else bz2.compress(POSTS, 1)
    path = tmp_path / f"posts.jsonl.{ending}"
    path.write_bytes(packed[: int(len(packed) * share)])
    if ending == "bz2" and share < 0.9:  # bzip2 unpacks whole blocks only
        refused(square, path, "empty or cannot be read")
        return
    unpacked = b""
    with gzip.open(path) if ending == "gz" else bz2.open(path) as stream:
        try:
            while block := stream.read1(100):  # type: ignore[union-attr]
                unpacked += block
        except (EOFError, OSError):
            pass
    receipt = ingest(square, path)
    assert receipt.counts["kept"] == unpacked.count(b"\n")
    assert receipt.counts["quarantined"]["broken_file"] == 1
    reasons = {row["reason"]: row for row in quarantine_of(square)}
    last = unpacked.split(b"\n")[-1]
    assert ("broken_json" in reasons) == bool(last.strip())
    assert f"read up to row {receipt.counts['seen'] - 1}" in reasons["broken_file"]["detail"]


def _tar(path: Path, members: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2")])
def test_tars(square: Square, tmp_path: Path, ending: str, mode: str) -> None:
    path = _tar(tmp_path / f"a.{ending}", {"x/posts.jsonl": POSTS, "x/._posts.jsonl": b"-"}, mode)
    assert ingest(square, path).counts["kept"] == 2000


def test_a_cut_tar_keeps_what_is_whole_and_says_what_is_lost(square: Square, tmp_path: Path) -> None:
    noise = {f"{i}.bin": os.urandom(60_000) for i in range(2)}
    path = _tar(tmp_path / "a.tar.gz", {"posts.jsonl": POSTS, **noise}, "w:gz")
    path.write_bytes(path.read_bytes()[:-30_000])
    receipt = ingest(square, path)
    assert receipt.counts["kept"] == 2000
    reasons = {row["source_locator"]: row["detail"] for row in quarantine_of(square)}
    assert set(reasons) == {"0.bin:0", "1.bin:0", "(end of archive):0"}
    assert "breaks off, what follows is lost" in reasons["(end of archive):0"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out_are_not_read(square: Square, tmp_path: Path, kind: str) -> None:
    names = ["../evil.jsonl", "/etc/evil.jsonl", "a/../../evil.jsonl", "..\\evil.jsonl", "good.jsonl"]
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, POSTS)
    else:
        _tar(path, dict.fromkeys(names, POSTS), "w")
    receipt = ingest(square, path)
    assert receipt.counts == {"seen": 2004, "kept": 2000, "events": 0, "quarantined": {"unsafe_member": 4}}
    assert {row["detail"] for row in quarantine_of(square)} == {"its path leads out of the archive"}
    assert not list(tmp_path.rglob("evil*"))


def test_links_and_devices_in_tars_and_links_out_of_folders_are_not_read(square: Square, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(POSTS)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (
            ("soft.jsonl", tarfile.SYMTYPE),
            ("hard.jsonl", tarfile.LNKTYPE),
            ("pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
    refused_all = ingest(square, tmp_path / "a.tar")
    assert refused_all.counts["quarantined"] == {"unsafe_member": 3}
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "out.jsonl").symlink_to(secret)
    (folder / "good.jsonl").write_bytes(POSTS[:200])
    (folder / "in.jsonl").symlink_to(folder / "good.jsonl")
    receipt = ingest(square, folder)
    assert receipt.results["files"]["out.jsonl"]["kept"] == 0
    assert receipt.results["files"]["in.jsonl"]["kept"] > 0


def test_names_no_table_can_hold_are_mended(square: Square, tmp_path: Path) -> None:
    _tar(tmp_path / "a.tar", {"caf\udce9.jsonl": POSTS, "b.jsonl": b"?"}, "w")
    receipt = ingest(square, tmp_path / "a.tar")
    assert receipt.counts["kept"] == 2000
    folder = tmp_path / os.fsdecode(b"f\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"p\xe9.jsonl")).write_bytes(POSTS[:200])
    (folder / "empty").write_bytes(b"")
    assert ingest(square, folder).counts["quarantined"] == {"unknown_format": 1, "broken_json": 1}


def test_members_of_one_name_are_told_apart(square: Square, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("posts.jsonl", '{"data": {"id": "1", "text": "a"}}\n?')
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("posts.jsonl", '{"data": {"id": "2", "text": "b"}}\n?')
    receipt = ingest(square, tmp_path / "a.zip")
    assert receipt.counts == {"seen": 4, "kept": 2, "events": 0, "quarantined": {"broken_json": 2}}


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "RATIO_COUNTS_FROM_BYTES", 1 << 20)


ZEROS = bytes(5 << 20)


@pytest.mark.usefixtures("small_limits")
def test_bombs_are_refused_with_the_limit(square: Square, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("posts.jsonl", ZEROS)
    refused(square, tmp_path / "bomb.zip", "300 times its size")
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("posts.jsonl")
        info.size = len(ZEROS)
        tar.addfile(info, io.BytesIO(ZEROS))
    refused(square, tmp_path / "bomb.tar.gz", "300 times its size")


@pytest.mark.usefixtures("small_limits")
def test_a_bomb_among_good_members_stops_no_other(square: Square, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data/tweets.js", tweets_js(tweet(1, "one")), zipfile.ZIP_DEFLATED)
        archive.writestr("data/account.js", account_js())
        archive.writestr("padding.bin", os.urandom(100_000))
        archive.writestr("data/tweets-part1.js", ZEROS, zipfile.ZIP_DEFLATED)
    receipt = ingest(square, tmp_path / "a.zip")
    assert receipt.counts == {"seen": 2, "kept": 1, "events": 0, "quarantined": {"unsafe_member": 1}}


@pytest.mark.usefixtures("small_limits")
def test_a_compressed_line_without_end_is_stopped(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl.gz"
    path.write_bytes(gzip.compress(POSTS[:200] + b'{"data": "' + ZEROS))
    receipt = ingest(square, path)
    assert receipt.counts["kept"] == POSTS[:200].count(b"\n")
    assert receipt.counts["quarantined"]["broken_file"] == 1
    assert "300 times its size" in str([row["detail"] for row in quarantine_of(square)])


def test_of_a_line_beyond_the_limit_only_the_beginning_is_kept(
    square: Square, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE_BYTES", 100_000)
    monkeypatch.setattr(files, "PLAIN_BLOCK", 1 << 14)
    path = tmp_path / "posts.jsonl"
    first, second = POSTS.split(b"\n")[:2]
    path.write_bytes(first + b'\n{"data": "' + b"x" * 300_000 + b'"}\n' + second + b"\n")
    receipt = ingest(square, path)
    assert receipt.counts == {"seen": 3, "kept": 2, "events": 0, "quarantined": {"broken_json": 1}}


def test_encrypted_and_strangely_packed_zips(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("posts.jsonl", POSTS)
        archive.writestr("other.jsonl", POSTS)
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.index(signature) + offset
        raw[at] |= 1  # "encrypted"
    path.write_bytes(raw)
    receipt = ingest(square, path)
    assert (receipt.counts["kept"], receipt.counts["quarantined"]) == (2000, {"unknown_format": 1})


def test_a_flipped_byte_in_a_zip_costs_at_most_the_last_block(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("posts.jsonl", POSTS)
    path.write_bytes(path.read_bytes().replace(b"post number 7 ", b"post number 8 "))
    receipt = ingest(square, path)
    lost = (files.BLOCK + 100) // len(POSTS.split(b"\n")[1500])
    assert 2000 - lost - 1 <= receipt.counts["kept"] < 2000
    assert receipt.counts["quarantined"]["broken_file"] == 1


def test_a_dry_run_reports_and_changes_nothing(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(POSTS[:500])
    receipt = ingest(square, path, dry_run=True)
    assert receipt.counts["kept"] == POSTS[:500].count(b"\n")
    assert not square.posts.exists()
    assert not list(square.receipts.glob("*"))
    assert ingest(square, path).counts == receipt.counts


def test_the_same_again_is_skipped_and_other_content_is_another_ingest(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(POSTS)
    first = ingest(square, path)
    again = run(square, IngestConfig(paths=(path,)))
    assert again.skipped
    assert again == first
    path.write_bytes(POSTS[:500])
    assert not ingest(square, path).skipped
    with pytest.raises(StaleError, match=r"other input `posts\.jsonl`") as caught:
        run(square, IngestConfig(paths=(path,), name=first.name))
    assert "--replace" in str(caught.value.remedy)
    assert len(posts_of(square)) == 2000
