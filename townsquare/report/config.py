"""Settings of the report stage."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """How the page presents itself; what it shows is what the receipts say."""

    title: str = ""
    """The page's headline; by default the square's name."""
