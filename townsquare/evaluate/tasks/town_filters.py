"""What ingest and curation left out, held against the town's hidden truth."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from townsquare.errors import StaleError
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.square import Square

NAME = "town_filters"
ABOUT = (
    "Of the town's posts that came in: how many that are unfit by their hidden label were kept out of the corpus, and "
    "how many of those without any such label are in it."
)
FIT = (
    "missing_parent",
    "personal_data",
)  # labels of posts that may stay: a reply stands alone, personal data is masked


def run(subject: Subject) -> Outcome:
    """Count, by label. Raises StaleError when there is no town, no posts or no corpus."""
    square, seed = subject.square, subject.config.seed
    from townsquare.town import tables as town

    came_in, in_corpus = _uids(square)
    truth = [row for row in town.read_truth(square).select(["uid", "defects"]).to_pylist() if row["uid"] in came_in]
    if not truth:
        raise StaleError("none of the town's posts came in", remedy="Run first: townsquare ingest PATH")
    by_defect: dict[str, Counter[str]] = {}
    for row in truth:
        for defect in row["defects"] or ["none"]:
            tally = by_defect.setdefault(defect, Counter(posts=0, left_out=0))
            tally.update(posts=1, left_out=int(row["uid"] not in in_corpus))
    caught = [int(row["uid"] not in in_corpus) for row in truth if set(row["defects"]) - set(FIT)]
    kept = [int(row["uid"] in in_corpus) for row in truth if not row["defects"]]
    scores = share("unfit_left_out", caught, seed=seed) | share("sound_kept", kept, seed=seed) | {"n": len(truth)}
    return Outcome(scores, {"by_defect": {defect: dict(tally) for defect, tally in sorted(by_defect.items())}})


def _uids(square: Square) -> tuple[set[str], set[str]]:
    """The posts that came in, quarantined ones included; and those that stand in the corpus."""
    from townsquare.curate import tables as corpus
    from townsquare.ingest import tables as posts

    came_in = {*posts.read_posts(square, columns=["uid"])["uid"].to_pylist()}
    came_in |= {uid for uid in posts.read_quarantine(square)["uid"].to_pylist() if uid}
    tables = (corpus.read_documents(square), corpus.read_conversations(square))
    return came_in, {uid for table in tables for uid in pc.list_flatten(table["uids"]).to_pylist()}
