"""The bundle: a ZIP whose manifest names every file by its SHA-256 and is signed with Ed25519; and its check.

The same content makes the same bytes: files are in order, and carry no time of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from townsquare.errors import InputError, ProofError
from townsquare.ledger import Entry
from townsquare.ledger.chain import GENESIS, entry_hash
from townsquare.square import Square, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MANIFEST, SIGNATURE, LEDGER = "manifest.json", "manifest.sig", "ledger.jsonl"
NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold
FORMAT = "townsquare-audit/1"


def own_key(square: Square) -> Path:
    """The square's signing key, made the first time: a PEM file that only its owner may read."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = square.ledger / "signing-key.pem"
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(path, data)  # the temporary file that it renames is its owner's alone
        os.chmod(path, 0o600)
    return path


def read_key(path: Path) -> Ed25519PrivateKey:
    """A private key from its PEM file. Raises InputError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"the key cannot be read: {error}", place=str(path), remedy="Give an unencrypted PEM."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("it is not an Ed25519 key", place=str(path), remedy="openssl genpkey -algorithm ed25519")
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public key that belongs to it, as hex."""
    return key.public_key().public_bytes_raw().hex()


def ledger_lines(entries: list[Entry]) -> bytes:
    """The ledger as JSON lines, the hash of each the same as in the database."""
    return "".join(json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n" for entry in entries).encode()


def pack(files: dict[str, bytes], about: dict[str, Any], key: Ed25519PrivateKey) -> bytes:
    """The signed ZIP of some files; `about` goes into the manifest."""
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    manifest = {"format": FORMAT, **about, "public_key": public_hex(key), "files": digests}
    text = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    signed = {MANIFEST: text, SIGNATURE: (key.sign(text).hex() + "\n").encode(), **{n: files[n] for n in sorted(files)}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in signed.items():
            info = zipfile.ZipInfo(name, NO_TIME)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return out.getvalue()


def verify(path: Path, public_key: str | None = None) -> dict[str, Any]:
    """Check signature, files and chain of a bundle; returns what it is about.

    Raises InputError for a file that is no bundle, ProofError naming the first thing that does not hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
            twice = len(archive.namelist()) != len(files)
        text, signature = files.pop(MANIFEST), bytes.fromhex(files.pop(SIGNATURE).decode())
        manifest = json.loads(text)
        key, digests, ledger = str(manifest["public_key"]), dict(manifest["files"]), dict(manifest["ledger"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"it is no audit bundle: {error}", place=str(path), remedy="Give the ZIP file.") from error
    _check_signature(path, text, signature, key)
    if public_key is not None and public_key.lower() != key:
        raise _broken(path, f"it was signed by another key, {key}")
    if twice or set(files) != set(digests):
        raise _broken(path, "it holds other files than its manifest names")
    for name, digest in digests.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise _broken(path, f"the file {name} was altered")
    rows, head = _check_chain(path, files[LEDGER])
    if (rows, head) != (ledger["rows"], ledger["head"]):
        raise _broken(path, "its ledger does not end where the manifest says")
    return {"files": len(digests), "ledger_rows": rows, "head": head, "public_key": key, "manifest": manifest}


def _check_signature(path: Path, text: bytes, signature: bytes, key: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, text)
    except (InvalidSignature, ValueError) as error:
        raise _broken(path, "its manifest was altered, or signed by another key than it names") from error


def _check_chain(path: Path, data: bytes) -> tuple[int, str]:
    """Rows and last hash of a ledger's lines."""
    previous, number = GENESIS, 0
    for number, line in enumerate(data.decode().splitlines(), start=1):
        row = json.loads(line)
        body = json.dumps(row["body"], sort_keys=True, ensure_ascii=False)
        digest = entry_hash(row["seq"], row["at"], row["kind"], row["key"], body, previous)
        if (row["seq"], row["previous"], row["hash"]) != (number, previous, digest):
            raise _broken(path, f"row {number} of its ledger does not hold")
        previous = digest
    return number, previous


def _broken(path: Path, how: str) -> ProofError:
    return ProofError(f"the bundle does not hold: {how}", place=str(path), remedy="Ask its maker for it once more.")
