"""One format a file. Each module has NAME, TABLE (what it reads, never reads, quarantines), detect and read.

Where several members make one source, it also has detect_members and read_archive.
"""

from __future__ import annotations

from types import ModuleType

from townsquare.ingest.sources import (
    bluesky_appview,
    bluesky_jetstream,
    bluesky_repo,
    hacker_news,
    mastodon,
    opt_out,
    reddit,
    table,
    x_api_v2,
    x_archive,
    x_compliance,
    x_grailbird,
    x_stream,
)

SOURCES: tuple[ModuleType, ...] = (
    bluesky_repo,
    x_archive,
    x_grailbird,
    x_stream,
    x_compliance,
    opt_out,
    mastodon,
    bluesky_jetstream,
    hacker_news,
    reddit,
    x_api_v2,
    bluesky_appview,
    table,
)
"""In the order in which they are asked whether a file is theirs."""

ARCHIVES = tuple(source for source in SOURCES if hasattr(source, "read_archive"))
"""Those whose folders and archives are read as a whole: their files explain one another."""

BY_NAME = {source.NAME: source for source in SOURCES}
