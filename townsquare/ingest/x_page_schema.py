"""What is read of a page of X API v2, as an Arrow schema: whatever else a page holds is passed over."""

from __future__ import annotations

import pyarrow as pa

STRING, _FLAG, COUNT = pa.string(), pa.bool_(), pa.int64()
METRICS = {
    "likes": "like_count",
    "reposts": "retweet_count",
    "replies": "reply_count",
    "quotes": "quote_count",
    "views": "impression_count",
    "bookmarks": "bookmark_count",
}
_URL = pa.struct([(n, STRING) for n in ("url", "unwound_url", "expanded_url", "title", "media_key")])
_ENTITIES = pa.struct([("urls", pa.list_(_URL)), ("mentions", pa.list_(pa.struct([("username", STRING)])))])
_POST = pa.struct(
    [
        *((n, STRING) for n in ("id", "text", "author_id", "created_at", "conversation_id", "in_reply_to_user_id")),
        *((n, STRING) for n in ("lang", "source")),
        ("possibly_sensitive", _FLAG),
        ("edit_history_tweet_ids", pa.list_(STRING)),
        ("referenced_tweets", pa.list_(pa.struct([("type", STRING), ("id", STRING)]))),
        ("entities", _ENTITIES),
        ("note_tweet", pa.struct([("text", STRING), ("entities", _ENTITIES)])),
        ("public_metrics", pa.struct([(n, COUNT) for n in METRICS.values()])),
        ("withheld", pa.struct([("country_codes", pa.list_(STRING)), ("copyright", _FLAG), ("scope", STRING)])),
        ("media_metadata", pa.list_(pa.struct([("media_key", STRING)]))),
        ("attachments", pa.struct([("media_keys", pa.list_(STRING))])),
    ]
)
_USER = pa.struct([("id", STRING), ("username", STRING), ("protected", _FLAG)])
_MEDIUM = pa.struct(
    [
        *((n, STRING) for n in ("media_key", "type", "url", "preview_image_url", "alt_text")),
        ("width", COUNT),
        ("height", COUNT),
    ]
)
PAGE = pa.schema(
    [
        ("data", pa.list_(_POST)),
        (
            "includes",
            pa.struct([("tweets", pa.list_(_POST)), ("users", pa.list_(_USER)), ("media", pa.list_(_MEDIUM))]),
        ),
        ("errors", pa.list_(pa.struct([("title", STRING)]))),  # whether there are any
    ]
)
