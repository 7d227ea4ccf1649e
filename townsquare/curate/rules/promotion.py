"""Posts that sell: one point for each sign; offers of followers, easy money and adult content count two.

Known errors: a shop's plain notice of its hours and one price stays, which is wanted; a charity's appeal with a
link and hashtags may go; phrases are English. A link alone is no sign: news is shared with links.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "promotion"
CONTEXT = False
ALONE = True

STRONG = (
    r"\b(?:free|more|get|gain|buy|instant|real|cheap) (?:\d+k? )?(?:new )?(?:followers|likes|subscribers|retweets)\b",
    r"\b(?:make|makes|made|making|earn|earned|earning|win|won)\b.{0,24}"
    r"(?:[$£€] ?\d|\d+ ?(?:k\b|usd|dollars|pounds|euros?|btc))",
    r"\b(?:work from home|easy money|passive income|financial freedom|get rich|double your|guaranteed (?:returns?|"
    r"profits?|income|win))\b",
    r"\b(?:crypto|bitcoin|btc|forex|nft|token)\b.{0,40}\b(?:airdrop|giveaway|signals?|pump|profits?|invest|presale|"
    r"whitelist)\b",
    r"\b(?:hot|sexy|naked|nude|xxx)\b.{0,30}\b(?:girls?|pics?|singles|cams?|chat|onlyfans)\b",
    r"\b(?:casino|viagra|cialis|weight loss pills?|replica watches|payday loan|no credit check)\b",
    r"\b(?:lose|drop|shed) \d+ ?(?:kilos?|kgs?|pounds|lbs)\b.*(?:[$£€] ?\d|\boffer|\bsale\b|https?:|\bwithout\b)",
    r"\b(?:crypto|bitcoin|btc|token|coin)\b.{0,40}\b(?:going up|to the moon|\d+x)\b",
    r"\b(?:follow|like)\b.{0,40}\b(?:repost|retweet|rt)\b.{0,40}\b(?:to (?:win|claim|enter)|visit|chance)\b",
    r"\b(?:claim|collect)\b.{0,20}\b(?:prize|reward|award|gift ?card|voucher)\b",
)
WEAK = (
    r"\b(?:buy|order|shop|book|subscribe|sign ?up|register|join|apply|call|text|download) (?:yours )?(?:now|today|here|"
    r"online|before)\b",
    r"\b(?:click|tap|follow|check) (?:the |this |my |our |out my |out our )?(?:link|bio|profile|page|shop|store|"
    r"channel)\b",
    r"\b(?:link in (?:my |the |our )?bio|dm (?:me|us|now|to)|dms? open|whatsapp|telegram|t\.me|swipe up)\b",
    r"\b(?:promo|discount|coupon|voucher|referral) ?codes?\b|\buse code\b|\bcode: ?\w+",
    r"\d+ ?% off\b|\bhalf price\b|\b(?:buy one get|bogo|clearance|flash sale|best price|lowest price|special offer|"
    r"limited (?:time|offer|stock)|while (?:stocks?|supplies) last|free shipping|free delivery|on sale)\b",
    r"\b(?:weight ?loss|lose weight|miracle|from home|ask me how|investment)\b",
    r"\b(?:giveaway|sweepstakes?|raffle|winner|you(?:'ve|’ve| have)? (?:been selected|won))\b",
    r"\b(?:act fast|hurry|don(?:'|’)t miss|last chance|ends (?:today|tonight|soon)|only \d+ left|sale ends|"
    r"risk[- ]free|100% (?:free|legit|working))\b",
)


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    fold, text = pl.col("fold"), pl.col("text")
    signs = [
        *(2 * normal.says(fold, pattern).cast(pl.Int32) for pattern in STRONG),
        *(normal.says(fold, pattern).cast(pl.Int32) for pattern in WEAK),
        (text.str.count_matches(r"#[\p{L}\p{N}_]+") >= 6).cast(pl.Int32),
        (normal.says(fold, r"[$£€] ?\d|\d ?(?:usd|gbp|eur)\b") & normal.says(text, normal.LINK)).cast(pl.Int32),
        (text.str.count_matches(r"!") >= 3).cast(pl.Int32),
    ]
    return first_of(posts, {"selling": pl.sum_horizontal(signs) >= config.promotion_score})
