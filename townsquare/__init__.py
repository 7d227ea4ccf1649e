"""townsquare turns a social network's posts into a chat assistant that its owner can account for.

The flow, a stage a line; each is a folder with `config.py` and `run.py`:

    town      a synthetic community with known truth  -> files in real source formats
    ingest    sources                                 -> posts, events
    curate    posts                                   -> corpus: documents, conversations, pairs
    tokens    corpus                                  -> vocabulary, shards
    train     shards                                  -> checkpoints
    evaluate  checkpoint                              -> scores
    serve     model + index                           -> assistant
    takedown  events                                  -> every copy without the post, with proof
"""

from townsquare.errors import TownsquareError
from townsquare.receipts import Receipt
from townsquare.square import Square

__all__ = ["Receipt", "Square", "TownsquareError"]
