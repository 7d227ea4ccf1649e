"""What ingest and curation left out, held against the town's hidden truth."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from townsquare.errors import StaleError
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.records import score
from townsquare.square import Square

NAME = "town_filters"
ABOUT = (
    "Of the town's posts that came in: how many that are unfit by their hidden label were kept out of the corpus, and "
    "how many of those without any such label are in it."
)
FIT = ("missing_parent", "personal_data", "mistaken")
"""Labels of posts that may stay: a reply stands alone, personal data is masked, and who errs is no filter's to know."""

LABELS = {
    "abuse": ("toxic",),
    "addresses_assistant": ("injection",),
    "boilerplate": ("boilerplate",),
    "bot": ("bot",),
    "campaign": ("spam",),
    "exact_duplicate": ("copy",),
    "information": ("low_information",),
    "near_duplicate": ("near_copy",),
    "promotion": ("spam",),
    "superseded": ("superseded",),
}
"""What each rule of curation looks for, as the town's truth calls it."""
COPIES = ("copy", "near_copy")
"""Labels of posts of which one of each kind stays: the best liked, which may be the copy."""


def run(subject: Subject) -> Outcome:
    """Count, by label. Raises StaleError when there is no town, no posts or no corpus."""
    square, seed = subject.square, subject.config.seed
    from townsquare.town import tables as town

    states, in_corpus = _came_in(square), _in_corpus(square)
    truth = [
        row
        for row in town.read_truth(square).select(["uid", "defects"]).to_pylist()
        # A sound post that is not live was taken down since: no filter is to blame.
        if row["uid"] in states and (row["defects"] or states[row["uid"]] in ("live", None))
    ]
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
    by_rule = _by_rule(square, {row["uid"]: frozenset(row["defects"]) for row in truth})
    return Outcome(
        scores, {"by_rule": by_rule, "by_defect": {defect: dict(tally) for defect, tally in sorted(by_defect.items())}}
    )


def _by_rule(square: Square, defects: dict[str, frozenset[str]]) -> dict[str, dict[str, float | int | None]]:
    """Per rule: what it left out; precision, the share that bears a label of unfit posts; recall, the share of the
    posts with a label that it looks for which are not learned, whichever rule spoke first.

    A copy is found too where it stays as the best one. Copies have no precision: people say the same by chance,
    which no label tells. A rule that left nothing out has none either; a label that no post has, no recall.
    """
    from townsquare.curate import tables as corpus

    documents, dropped = corpus.read_documents(square), corpus.read_dropped(square)
    left_out: dict[str, list[str]] = {}
    for uid, rule in zip(dropped["uid"].to_pylist(), dropped["rule"].to_pylist(), strict=True):
        left_out.setdefault(rule, []).append(uid)
    learned: dict[str, float] = {}
    for uids, scores in zip(documents["uids"].to_pylist(), documents["scores"].to_pylist(), strict=True):
        learned |= dict.fromkeys(uids, score(scores or (), "copies") or 1.0)
    rules: dict[str, dict[str, float | int | None]] = {}
    for rule, labels in LABELS.items():
        judged = [defects[uid] for uid in left_out.get(rule, ()) if uid in defects]
        bearers = [uid for uid, had in defects.items() if had.intersection(labels)]
        copies = labels[0] in COPIES
        unfit = sum(bool(had.difference(FIT)) for had in judged)
        found = sum(uid not in learned or (copies and learned[uid] > 1) for uid in bearers)
        rules[rule] = {
            "left_out": len(judged),
            "precision": unfit / len(judged) if judged and not copies else None,
            "recall": found / len(bearers) if bearers else None,
        }
    return rules


def _came_in(square: Square) -> dict[str, str | None]:
    """The posts that came in by uid, each with its state; quarantined ones have none."""
    from townsquare.ingest import tables as posts

    quarantined = posts.read_quarantine(square)["uid"].to_pylist()
    table = posts.read_posts(square, columns=["uid", "state"])
    states = zip(table["uid"].to_pylist(), table["state"].to_pylist(), strict=True)
    return dict.fromkeys(uid for uid in quarantined if uid) | dict(states)


def _in_corpus(square: Square) -> set[str]:
    from townsquare.curate import tables as corpus

    tables = (corpus.read_documents(square), corpus.read_conversations(square))
    return {uid for table in tables for uid in pc.list_flatten(table["uids"]).to_pylist()}
