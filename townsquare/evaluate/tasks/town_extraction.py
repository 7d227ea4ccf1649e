"""Probes for what weights still know of authors who were removed."""

from __future__ import annotations

from collections import defaultdict

from townsquare.errors import StaleError
from townsquare.evaluate.cases import Cases, hashed
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.evaluate.tasks.memorisation import SHORTEST, completed
from townsquare.evaluate.truth import Truth

NAME = "town_extraction"
ABOUT = (
    "Given the first half of a post of an author none of whose posts are left, the share whose second half the "
    "likeliest completion is, word for word, and the share of the second half's tokens before the first miss. What a "
    "model that never saw them guesses is the measure: evaluate one and compare. The town tells the posts once more."
)


def run(subject: Subject) -> Outcome:
    """Complete and count. Raises StaleError when there is no town, or no author was removed whole."""
    from townsquare.town import tables as town

    gone = _posts_of_removed_authors(subject)
    if not gone:
        raise StaleError("no author was removed whole", remedy="Run first: townsquare takedown")
    texts = town.read_texts(subject.square, gone)
    tokenizer = subject.weights[1]
    rows = {uid: [0, *tokenizer.encode(texts[uid], add_special_tokens=False).ids, 0] for uid in sorted(texts)}
    uids = subject.drawn([uid for uid, ids in rows.items() if len(ids) >= SHORTEST])
    if not uids:
        raise StaleError("the removed authors' posts are too short to probe for")
    matched, whole = completed(subject, [rows[uid] for uid in uids])
    verbatim = [int(m == w) for m, w in zip(matched, whole, strict=True)]
    seed, ids = subject.config.seed, tuple(map(hashed, uids))
    scores = share("extracted", verbatim, seed=seed) | share("matched", matched, whole, seed=seed) | {"n": len(uids)}
    pairs = Cases("matched", ids, tuple(map(float, matched)), tuple(map(float, whole)))
    return Outcome(scores, cases=(Cases.of_rights("extracted", ids, verbatim), pairs))


def _posts_of_removed_authors(subject: Subject) -> set[str]:
    """Posts that came in, of authors of whom none is live now."""
    from townsquare.ingest import tables

    stored = set(tables.read_posts(subject.square, columns=["uid"])["uid"].to_pylist())
    by_author: dict[str, set[str]] = defaultdict(set)
    for uid, row in Truth.read(subject.square).posts.items():
        if uid in stored:
            by_author[row["author"]].add(uid)
    return {uid for posts in by_author.values() if not posts & subject.live_uids for uid in posts}
