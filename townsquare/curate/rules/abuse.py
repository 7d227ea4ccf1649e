"""Posts that insult people: told to be stupid, worthless or gone, and slurs on what someone is.

`--abuse flag` keeps them, with the score `abusive` on their documents. Known errors: phrases are English; friends who
tease each other are taken at their word; an insult without any of these words, and irony, pass; those who report an
insult and quote it are dropped too. What a network marks as sensitive (mostly pictures) is a score, not a reason.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "abuse"
CONTEXT = False
ALONE = True

PERSON = (
    r"(?:idiots?|morons?|imbeciles?|halfwits?|dimwits?|losers?|clowns?|muppets?|fools?|scum|vermin|trash|garbage|"
    r"pigs?|cretins?|retards?|bastards?|arseholes?|assholes?|dickheads?|wankers?|bitch(?:es)?|cunts?|sluts?|whores?|"
    r"parasites?|lowli(?:fe|ves)|degenerates?|subhumans?)"
)
INSULTS = (
    rf"\b(?:you are|you(?:'|’)re|youre|ur|you|u r|what) (?:just |all |such |nothing but |really )*(?:an? |the )?"
    rf"(?:\w+ ){{0,2}}{PERSON}\b",
    rf"^(?:only|what kind of) an? (?:\w+ )?{PERSON}\b|^{PERSON} who\b|\bwhat an? (?:\w+ )?{PERSON}\b.{{0,30}}\byou\b",
    r"\b(?:you|they|people who .{2,40}|who .{2,40}) (?:are|must be) (?:all |just |so |too |really )*(?:braindead|"
    r"brain[- ]dead|scum|stupid|pathetic|worthless|disgusting|vermin|subhuman)\b",
    r"\b(?:shut (?:up|it|your (?:mouth|face))|get lost|get a life|go (?:away|to hell|die)|drop dead|kill yourself|kys|"
    r"nobody asked you|piss off|f(?:uck|\*+k?|ck) (?:off|you)|screw you)\b.*(?:\byou(?:r|rs)?\b|\bu\b)",
    r"^(?:shut (?:up|it)|get lost|drop dead|kill yourself|kys|piss off|f(?:uck|\*+k?|ck) (?:off|you))(?:[,.!]|$)",
    r"\b(?:i|we|everyone|everybody) (?:really )?(?:hates?|despises?) you\b|\bnobody (?:wants your opinion|cares what "
    r"you think|likes you)\b|\b(?:hope|wish) you (?:die|rot|suffer|choke)\b",
    r"\b(?:fagg?ots?|trann(?:y|ies)|kikes?|spics?|chinks?|gooks?|wetbacks?|ragheads?|towelheads?|n[i1]gg(?:er|a)s?|"
    r"coons?|dykes?)\b.{0,40}\b(?:you|they|them|all|out|go)\b",
)


def abusive() -> pl.Expr:
    """Whether a folded text insults. `shut up` and its like count where they are said to someone."""
    return pl.any_horizontal(normal.says(pl.col("fold"), pattern) for pattern in INSULTS)


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    return first_of(posts, {"insult": abusive() & pl.lit(config.abuse == "drop")})
