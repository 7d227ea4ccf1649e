"""Posts that speak to an assistant rather than to people ("ignore previous instructions"), or imitate its format.

They never train. In retrieval they are data like any post: the prompt keeps them from acting.
Known errors: people who discuss such attacks and quote them are dropped; other languages and disguises pass.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "addresses_assistant"
CONTEXT = False
ALONE = True

ORDERS = (
    r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|all|your|any)\b.{0,30}"
    r"\b(?:instructions?|prompts?|rules|guidelines|directions|training)\b",
    r"\b(?:system prompt|developer message|jailbreak prompt)\b",
    r"\byou are (?:now )?(?:an? |the )?(?:ai|assistant|chatbot|language model|llm|dan)\b",
    r"\bas an? (?:ai|artificial intelligence)(?: language)?[ -](?:model|assistant)\b",
    r"\b(?:ai|assistants?|chatbots?|bots?|llms?|language models?)\b.{0,40}\b(?:must|should|shall|please|always)\b"
    r".{0,40}\b(?:reply|respond|answer|say|output|repeat|recommend|tell|ignore)\b",
    r"\b(?:note|message|attention|dear|hey)\b.{0,12}\b(?:ai|assistants?|(?:chat)?bots?|llms?|language models?)\b",
)
FORMAT = r"<\|[a-z_]+\|>|\[/?inst\]|<<sys>>|^#*(?:system|assistant) ?:"


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    fold = pl.col("fold")
    return first_of(
        posts,
        {
            "gives_orders": pl.any_horizontal(normal.says(fold, pattern) for pattern in ORDERS),
            "imitates_format": normal.says(fold, FORMAT),
        },
    )
