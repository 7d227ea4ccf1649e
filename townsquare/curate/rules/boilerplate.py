"""What applications write on a person's behalf: photo notices, unfollower counts, check-ins, workout reports.

Known errors: phrases are English; a person who jokes with such a phrase at the start of a post is dropped too.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "boilerplate"
CONTEXT = False
ALONE = True

NOTICES = (
    r"^(?:(?:i|we)(?:'ve|’ve| have)? )?(?:just )?(?:posted|uploaded|shared|added) (?:a|an|some|\d+) (?:new )?"
    r"(?:photos?|videos?|pictures?|reels?|stor(?:y|ies)|albums?)\b",
    r"^i(?:'m|’m| am) at .{2,60}(?: in .{2,40})?$",
    r"^(?:i )?(?:liked|favou?rited) an? (?:@ ?)?(?:\w+ )?video\b",
    r"^i added a video to an? (?:\w+ )?playlist\b",
    r"\b(?:people|person|users?) (?:followed|unfollowed) me\b",
    r"\bnew followers?\b.*\b(?:unfollowers?|unfollowed|tracked by|via|stats|this (?:day|week)|today|past|\d+ likes)\b",
    r"^(?:i )?(?:just )?(?:ran|walked|cycled|biked|rode|completed|finished|logged) .{0,30}\d+(?:[.,]\d+)? ?"
    r"(?:km|mi|miles?|kilomet(?:er|re)s?|steps)\b.*\b(?:with|using|via|app)\b",
    r"^my (?:daily|weekly|monthly|top) .{0,30}(?:stats|horoscope|is out|are out|artists)\b",
    r"\b(?:daily|weekly) .{0,30}(?:is out|just published)\b|\btop stories via\b",
    r"^my (?:day|week|month|year) on \w+\b.*\d",
    r"^(?:just )?(?:checked in|check-in) (?:at|to) ",
    r"^(?:auto(?:matic(?:ally)?)?[- ]?(?:post|tweet|reply|shared)|this (?:post|message) was (?:sent|posted) "
    r"(?:automatically|by)|sent (?:from|via) (?:my )?(?:\w+ ){0,2}(?:app|phone|iphone|android))",
    r"^(?:(?:i|we|somebody|someone) )?(?:just )?(?:earned|unlocked|got) (?:the |a |an )?.{0,60}(?:badge|achievement)\b",
    r"^(?:now playing|nowplaying|#nowplaying|listening to)\b",
)


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    notice = pl.any_horizontal(normal.says(pl.col("fold"), pattern) for pattern in NOTICES)
    return first_of(posts, {"app_notice": notice})
