"""The audit: fourteen items, signed, whole, free of words; any change to the bundle is found; the same bytes again."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from townsquare.audit.config import AuditConfig
from townsquare.cli import app
from townsquare.consent.grants import Grant, add_grant
from townsquare.curate.config import CurateConfig
from townsquare.curate.run import run as curate
from townsquare.errors import InputError, ProofError
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.ledger import Ledger
from townsquare.serve.config import IndexConfig
from townsquare.serve.run import run as index
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.proof import prove
from townsquare.takedown.run import run as takedown
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.run import run as tokens

pytest.importorskip("cryptography", reason="cryptography is not installed")
from townsquare.audit import bundle
from townsquare.audit.run import run

WORDS = [
    "harbour",
    "library",
    "chapel",
    "station",
    "bakery",
    "orchard",
    "lighthouse",
    "gardener",
    "carpenter",
    "Thursday",
    "yesterday",
    "umbrella",
    "lantern",
    "weather",
    "morning",
    "evening",
    "concert",
    "rehearsal",
    "whistle",
    "timetable",
    "ferry",
    "bicycle",
    "bridge",
    "market",
    "square",
    "fountain",
    "pigeon",
]


def words(number: int) -> str:
    """What a post says: a dozen words in an order of its own."""
    return " ".join(random.Random(number).sample(WORDS, 12)) + "."


def rows() -> str:
    posts = [{"id": str(n), "text": words(n), "author": f"author{n % 6}"} for n in range(60)]
    return "".join(json.dumps(post) + "\n" for post in posts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Square:
    """Sixty posts of six authors, through to an index; one author is taken down."""
    folder = tmp_path_factory.mktemp("audit")
    square = Square.create(folder / "square")
    (folder / "terms.txt").write_text("What both signed.")
    add_grant(square, Grant("forum", "Town Forum", "Town AI", ("train", "tune", "retrieve", "display"), ("*",),
                            terms_document="terms.txt", terms_sha256="a" * 64))  # fmt: skip
    (folder / "posts.jsonl").write_text(rows())
    ingest(square, IngestConfig(paths=(folder / "posts.jsonl",)))
    curate(square, CurateConfig())
    tokens(square, TokensConfig(vocabulary_size=300))
    index(square, IndexConfig())
    takedown(square, TakedownConfig(author=("table:author3",)))
    prove(square)
    return square


@pytest.fixture
def filled(made: Square, tmp_path: Path) -> Square:
    return Square.open(shutil.copytree(made.root, tmp_path / "square"))


def opened(square: Square) -> dict[str, bytes]:
    path = max(square.audits.glob("audit-*.zip"), key=lambda found: found.stat().st_mtime)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def items(files: dict[str, bytes]) -> dict[int, dict[str, Any]]:
    return {number: json.loads(files[f"items/{number:02d}.json"]) for number in range(1, 15)}


def test_the_fourteen_items_say_what_happened(filled: Square, tmp_path: Path) -> None:
    basis = tmp_path / "balancing-test.pdf"
    basis.write_bytes(b"why we may")
    receipt = run(filled, AuditConfig("Platform Ltd", "counsel", document=(basis,)))
    files = opened(filled)
    found = items(files)
    assert [item["number"] for item in found.values()] == list(range(1, 15))
    [grant] = found[1]["tables"]["grants"]
    assert (grant["id"], grant["grantor"], grant["revoked_at"], grant["ledger_row"]) == ("forum", "Town Forum", None, 1)
    [source] = found[2]["tables"]["sources"]
    assert source["files_sha256"] == [hashlib.sha256(rows().encode()).hexdigest()]
    assert (source["seen"], source["kept"], source["grants"], source["terms_sha256"]) == (60, 60, ["forum"], ["a" * 64])
    documents = {row["document"]: row["sha256"] for row in found[3]["tables"]["documents"]}
    assert documents == {basis.name: hashlib.sha256(b"why we may").hexdigest(), "terms.txt": "a" * 64}
    [removal] = found[5]["tables"]["takedowns"]
    assert (removal["removed_count"], removal["left"]) == (10, 0)
    assert {"posts", "index", "shards"} <= set(removal["copies_affected"])
    assert [scan["left"] for scan in found[6]["tables"]["scans"]] == [0, 0]
    assert found[8]["tables"]["excluded"][0]["removed_count"] == 10
    assert found[9]["lacks"] == ["No test of memorisation or extraction was run on any model here."]
    assert {row["store"]: row["rows_of_removed_posts"] for row in found[10]["tables"]["stores"]}["index"] == 0
    assert receipt.results["post_ids"] == 60
    assert "Town Forum" in files["eu-training-content-summary.md"].decode()
    assert "counsel" in found[14]["says"][1]


def test_lineage_leads_from_post_to_tokens(filled: Square) -> None:
    run(filled, AuditConfig())
    read = {
        name.split("/")[1].split(".")[0]: pq.read_table(io.BytesIO(data)).to_pylist()
        for name, data in opened(filled).items()
        if name.startswith("lineage/")
    }
    states = {row["uid"]: row["state"] for row in read["posts"]}
    assert sorted(states.values()) == ["deleted"] * 10 + ["live"] * 50
    placed = {row["uid"] for row in read["documents"]}
    assert not {uid for uid, state in states.items() if state == "deleted"} & placed
    dropped = {row["uid"] for row in read["decisions"]}
    assert all((uid in placed) != (uid in dropped) for uid, state in states.items() if state == "live")
    assert {row["uid"] for row in read["shards"]} == placed
    import pyarrow as pa

    for row in read["shards"][:5]:
        with pa.memory_map(str(filled.tokens / row["shard"])) as source:
            ids = pa.ipc.open_file(source).read_all()["ids"].to_pylist()
        flat = [number for row_ids in ids for number in row_ids]
        assert flat[row["token_start"] : row["token_stop"]] == ids[row["row"]]


def test_no_words_of_any_post_and_no_author(filled: Square) -> None:
    run(filled, AuditConfig())
    files = opened(filled)
    whole = b"\n".join(files.values()).decode("latin-1") + str(
        [pq.read_table(io.BytesIO(d)).to_pylist() for n, d in files.items() if n.endswith(".parquet")]
    )
    for number in range(60):
        assert not any(words(number)[at : at + 20] in whole for at in range(0, len(words(number)) - 20, 10))
    asked = [line for line in files["ledger.jsonl"].decode().splitlines() if "author3" in line]
    assert all('"takedown' in line for line in asked), "an author's id stands where a takedown named it, nowhere else"


def test_a_bundle_that_would_hold_what_a_removed_post_said_is_refused(filled: Square) -> None:
    """An owner who copies a removed post's words into a grant's name would otherwise hand them on."""
    add_grant(filled, Grant("leak", words(3), "Town AI", ("train",), ("none",)))
    with pytest.raises(ProofError, match="what a removed post said"):
        run(filled, AuditConfig())
    assert not list(filled.audits.glob("*.zip"))


def test_without_lineage_no_post_id_leaves(filled: Square) -> None:
    assert run(filled, AuditConfig(lineage=False)).results["post_ids"] == 0
    whole = b"\n".join(opened(filled).values()).decode("latin-1")
    assert not any(f'"{uid}"' in whole for uid in tables.read_posts(filled, ["uid"])["uid"].to_pylist())


def test_what_was_given_to_whom_is_counted(filled: Square) -> None:
    for recipient in ("Platform Ltd", "Platform Ltd", "regulator"):
        shutil.rmtree(filled.audits, ignore_errors=True)
        run(filled, AuditConfig(recipient))
    given = items(opened(filled))[12]["tables"]["recipients"]
    assert given == [{"recipient": "Platform Ltd", "post_ids_in_30_days": 120}]


def test_the_same_square_makes_the_same_bundle(filled: Square, tmp_path: Path) -> None:
    key = bundle.own_key(filled)
    with Ledger.open(filled) as ledger:
        ledger.catch_up(filled)
        public = bundle.public_hex(bundle.read_key(key))
        ledger.append("audit_key", {"ed25519_public_key": public}, key=f"audit_key:{public}")
    copy = Square.open(shutil.copytree(filled.root, tmp_path / "other" / "square"))
    assert run(filled, AuditConfig()).results["outputs"] == run(copy, AuditConfig()).results["outputs"]
    assert key.stat().st_mode & 0o077 == 0, "nobody else may read the key"


def rewritten(path: Path, **changes: Any) -> Path:
    """The bundle with some files put in, changed or (None) taken out."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name, data in changes.items():
        files.pop(name.replace("__", "."), None)
        if data is not None:
            files[name.replace("__", ".")] = data(files, path) if callable(data) else data
    with zipfile.ZipFile(path.with_name("changed.zip"), "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path.with_name("changed.zip")


def test_a_changed_bundle_is_found(filled: Square) -> None:
    receipt = run(filled, AuditConfig())
    path = filled.root / receipt.results["bundle"]
    told = bundle.verify(path, receipt.results["public_key"])
    assert (told["files"], told["public_key"]) == (len(opened(filled)) - 2, receipt.results["public_key"])
    assert bundle.verify(rewritten(path))["files"] == told["files"], "packed anew, the same files are the same bundle"
    files = opened(filled)
    for name, data in files.items():
        if name in (bundle.MANIFEST, bundle.SIGNATURE):
            continue
        with pytest.raises(ProofError, match="was altered"):
            bundle.verify(rewritten(path, **{name: data[:-1] + bytes([data[-1] ^ 1])}))
    with pytest.raises(ProofError, match="other files"):
        bundle.verify(rewritten(path, extra=b"x"))
    with pytest.raises(ProofError, match="other files"):
        bundle.verify(rewritten(path, **{"audit.html": None}))
    with pytest.raises(ProofError, match="manifest was altered"):
        bundle.verify(rewritten(path, **{bundle.MANIFEST: files[bundle.MANIFEST].replace(b"the owner", b"the other")}))
    with pytest.raises(ProofError, match="signed by another key"):
        bundle.verify(path, "0" * 64)
    for broken in (b"", b"no zip"):
        path.with_name("broken.zip").write_bytes(broken)
        with pytest.raises(InputError):
            bundle.verify(path.with_name("broken.zip"))


def test_a_chain_that_was_altered_before_it_was_signed_is_found(filled: Square) -> None:
    receipt = run(filled, AuditConfig())
    files = opened(filled)
    about = json.loads(files.pop(bundle.MANIFEST))
    del files[bundle.SIGNATURE], about["files"], about["public_key"], about["format"]
    lines = files[bundle.LEDGER].decode().splitlines()
    files[bundle.LEDGER] = "\n".join([*lines[:2], lines[3], lines[2], *lines[4:]]).encode()
    path = filled.root / "signed.zip"
    path.write_bytes(bundle.pack(files, about, bundle.read_key(bundle.own_key(filled))))
    with pytest.raises(ProofError, match="row 3 of its ledger"):
        bundle.verify(path, receipt.results["public_key"])


def test_openssl_agrees_on_the_signature(filled: Square, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key = tmp_path / "key.pem"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    public = subprocess.run([openssl, "pkey", "-in", key, "-pubout"], check=True, capture_output=True).stdout
    (tmp_path / "public.pem").write_bytes(public)
    run(filled, AuditConfig(key=key))
    files = opened(filled)
    (tmp_path / "manifest").write_bytes(files[bundle.MANIFEST])
    (tmp_path / "signature").write_bytes(bytes.fromhex(files[bundle.SIGNATURE].decode()))
    done = subprocess.run(
        [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "public.pem", "-rawin",
         "-in", tmp_path / "manifest", "-sigfile", tmp_path / "signature"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Success" in done.stdout, done.stderr


def test_an_audit_of_an_empty_square(square: Square) -> None:
    run(square, AuditConfig())
    files = opened(square)
    assert len(items(files)) == 14
    assert not [name for name in files if name.startswith("lineage")]
    assert "No posts yet" in files["eu-training-content-summary.md"].decode()


def test_the_page_is_escaped(square: Square) -> None:
    add_grant(square, Grant("g", "<script>alert(1)</script>", "AI", ("train",), ("*",)))
    run(square, AuditConfig("<b>me</b>"))
    page = next(square.audits.glob("*.html")).read_text()
    assert "<script" not in page
    assert "<b>me" not in page
    assert "&lt;script&gt;" in page


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_commands(filled: Square) -> None:
    said = call("audit", "export", "--recipient", "Platform Ltd", "--json", "--square", str(filled.root))
    results = json.loads(said.stdout)["results"]
    path = str(filled.root / results["bundle"])
    assert "The bundle is whole" in call("audit", "verify", path, "--key", results["public_key"]).stdout
    assert call("audit", "verify", path, "--key", "0" * 64).exit_code == 8
    assert call("audit", "verify", str(filled.root / "townsquare.toml")).exit_code == 4
    assert call("audit", "export", "--key", path, "--square", str(filled.root)).exit_code == 4
    assert call("ledger", "verify", "--square", str(filled.root)).exit_code == 0


def test_cryptography_is_loaded_only_when_needed() -> None:
    code = "import sys, townsquare.cli; print('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
