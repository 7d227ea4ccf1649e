"""Open two-person talk from the chitchat-dataset package (MIT), for a model that has met few conversations."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from typing import Any

from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import personal_data
from townsquare.curate.splits import draw
from townsquare.records import scores_of

SOURCE = "chitchat-dataset"
MOST = 3_000  # conversations
TURNS = 8


def conversations(config: CurateConfig) -> list[dict[str, Any]]:
    """The first MOST talks by id with a turn of each, cut to TURNS turns; the second speaker is the assistant."""
    talks = json.loads(resources.files("chitchat_dataset").joinpath("dataset.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = []
    for name, talk in sorted(talks.items()):
        if len(rows) == MOST:
            break
        said = [" ".join(part["text"] for part in block).strip() for block in talk["messages"] if block]
        turns: list[dict[str, Any]] = [
            {"role": ("user", "assistant")[at % 2], "text": personal_data.mask_one(text, Counter()), "uids": []}
            for at, text in enumerate(said[:TURNS])
        ]
        turns = turns[: len(turns) - len(turns) % 2]
        if turns and all(turn["text"] for turn in turns):
            held_out = draw(config.seed, "validation", name) < config.validation_share
            rows.append(
                {
                    "conversation_id": f"{SOURCE}:{name}",
                    "turns": turns,
                    "uids": [],
                    "source": SOURCE,
                    "created_at": None,
                    "lang": "en",
                    "split": "validation" if held_out else "train",
                    "scores": scores_of({"grounded": 0.0}),
                }
            )
    return rows
