"""Settings of the audit stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """One bundle."""

    recipient: str = "the owner"
    """Who gets it: the post ids in it count towards what was redistributed to them in 30 days."""
    operator: str | None = None
    """Who made it: a name or a role, as the signed report shall say it."""
    key: Path | None = None
    """An Ed25519 private key (PEM) to sign with, instead of the square's own."""
    document: tuple[Path, ...] = ()
    """A document to name by its SHA-256 (lawful basis, balancing test, contract); repeat for more. It stays here."""
    lineage: bool = True
    """Put the lineage of every post in: without it, no post's id leaves the square."""
