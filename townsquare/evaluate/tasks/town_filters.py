"""What ingest and curation left out, held against the town's hidden truth."""

from __future__ import annotations

from collections import Counter

from townsquare.errors import StaleError
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Subject

NAME = "town_filters"
ABOUT = (
    "Of the town's posts that came in: how many of those with a hidden defect were kept out of the corpus, and how "
    "many of those without one were kept in."
)


def run(subject: Subject) -> Outcome:
    """Count, by defect. Raises StaleError when there is no town, no posts or no corpus."""
    square, seed = subject.square, subject.config.seed
    from townsquare.curate import tables as corpus
    from townsquare.ingest import tables as posts
    from townsquare.town import tables as town

    truth = town.read_truth(square).select(["uid", "defects"]).to_pylist()
    quarantined = {uid for uid in posts.read_quarantine(square)["uid"].to_pylist() if uid}
    left_out = quarantined | set(corpus.read_dropped(square)["uid"].to_pylist())
    came_in = set(posts.read_posts(square, columns=["uid"])["uid"].to_pylist()) | quarantined
    truth = [row for row in truth if row["uid"] in came_in]
    if not truth:
        raise StaleError("none of the town's posts came in", remedy="Run first: townsquare ingest PATH")
    by_defect: dict[str, Counter[str]] = {}
    for row in truth:
        for defect in row["defects"] or ["none"]:
            tally = by_defect.setdefault(defect, Counter(posts=0, left_out=0))
            tally.update(posts=1, left_out=int(row["uid"] in left_out))
    caught = [int(row["uid"] in left_out) for row in truth if row["defects"]]
    kept = [int(row["uid"] not in left_out) for row in truth if not row["defects"]]
    scores = share("defective_left_out", caught, seed=seed) | share("sound_kept", kept, seed=seed) | {"n": len(truth)}
    return Outcome(scores, {"by_defect": {defect: dict(tally) for defect, tally in sorted(by_defect.items())}})
