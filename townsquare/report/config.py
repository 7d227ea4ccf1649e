"""Settings of the report stage."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """How the page presents itself."""

    title: str = "What this square did"
    """The page's headline."""
