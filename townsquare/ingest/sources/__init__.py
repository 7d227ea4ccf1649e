"""One format a file. Each module has NAME, TABLE (what it reads, never reads, quarantines), detect and read."""

from __future__ import annotations

from types import ModuleType

from townsquare.ingest.sources import opt_out, table, x_api_v2, x_archive, x_compliance

SOURCES: tuple[ModuleType, ...] = (x_archive, x_compliance, opt_out, x_api_v2, table)
"""In the order in which they are asked whether a file is theirs."""

BY_NAME = {source.NAME: source for source in SOURCES}
