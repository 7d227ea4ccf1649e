"""Settings of the ingest stage."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

from townsquare.errors import ConfigError
from townsquare.records import NETWORKS


@dataclasses.dataclass(frozen=True)
class IngestConfig:
    """Which files, and what they cannot say of themselves."""

    paths: tuple[Path, ...]
    """Files or folders: archives (folder, zip, tar), JSON, JSONL, CAR, CSV, Parquet, also as gz, bz2 or zst."""
    name: str | None = None
    """A name for this source, which grants can cover; by default the first path's name and a hash of the content."""
    format: str | None = None
    """The format, where detection errs, such as x_archive, mastodon or table; an unknown one is answered with all."""
    grant: str | None = None
    """The grant that the posts come under, for the record; the gate decides anew at every use."""
    column: tuple[str, ...] = ()
    """For tables, FIELD=COLUMN, such as text=Body or created_at=When. May be given several times."""
    author_from: Literal["file"] | None = None
    """For tables without an author column: file takes the author from each file's name."""
    network: str = "table"
    """For tables, the network that the posts and ids come from."""
    dry_run: bool = False
    """Only report what would be taken, skipped and quarantined."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise ConfigError("there is nothing to ingest", remedy="Name a file or a folder.")
        if self.network not in NETWORKS:
            raise ConfigError(f"network cannot be {self.network!r}", remedy="Known: " + ", ".join(NETWORKS))
        if self.name is not None and not re.fullmatch(r"\w[\w.-]{0,99}", self.name):
            raise ConfigError(
                f"name cannot be {self.name!r}",
                remedy="Use letters, digits, dots, dashes: it names a file and a source.",
            )
        for pair in self.column:
            if "=" not in pair:
                raise ConfigError(f"column cannot be {pair!r}", remedy="Write FIELD=COLUMN, such as text=Body.")
