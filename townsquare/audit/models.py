"""The register of models: what each was made from, what was excluded, and what removed posts its weights have seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from townsquare.audit.saw import line_of
from townsquare.receipts import Receipt, as_input, sources_of
from townsquare.square import Square
from townsquare.train.copies import saw


def register(square: Square, receipts: Sequence[Receipt], removed: frozenset[str]) -> list[dict[str, Any]]:
    """One row for each exported model, by name."""
    seen = saw(square, removed) if removed else {}
    rows = []
    for path in sorted(square.models.glob("*/export.json")):
        export = json.loads(path.read_text(encoding="utf-8"))
        run = export["run"]
        trained = next((r for r in receipts if r.stage == "train" and r.name == run), None)
        made_from = sources_of(receipts, trained) if trained else []
        rows.append(
            {
                "model": export["name"],
                "run": run,
                "run_fingerprint": export["run_fingerprint"],
                "started_from": line_of(square, run)[1:],
                "parameters": export["parameters"],
                "weights_sha256": export["files"].get("model.safetensors"),
                "made_from": [f"{as_input(r).name} {r.fingerprint[:16]}" for r in made_from],
                "removed_posts_seen": seen.get(run, 0),
            }
        )
    return rows
