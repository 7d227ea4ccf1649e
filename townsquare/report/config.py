"""Settings of the report stage."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """There is nothing to set: the page shows what the receipts say."""
