"""Whether the model knows training posts by heart: given the first half of one, it goes on word for word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from townsquare import receipts
from townsquare.evaluate.cases import Cases, hashed
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Document, Outcome, Subject

NAME = "memorisation"
ABOUT = (
    "Given the first half of a post's tokens, the share of posts whose second half the likeliest completion is, word "
    "for word; of training posts, and of held-out posts that it never saw, which is what can be guessed. Posts of at "
    "least 16 tokens; by how often training read them, in every run that led to the model. Matched is the share of "
    "the second half's tokens that are right before the first miss."
)
SHORTEST = 16
MOST_TIMES = 8
"""Posts read more often than this stand in one group."""


def run(subject: Subject) -> Outcome:
    """Complete and count. Raises StaleError when there are no shards of the model's vocabulary, or no lineage."""
    trained, held_out = subject.documents("train"), subject.documents("test", "validation")
    times = _times_read(subject)
    groups: dict[int, list[Document]] = defaultdict(list)
    for document in trained:
        if times[document.uid] and len(document.ids) >= SHORTEST:
            groups[min(times[document.uid], MOST_TIMES)].append(document)
    groups[0] = [document for document in held_out if len(document.ids) >= SHORTEST]
    drawn = [(count, document) for count in sorted(groups) for document in _drawn(subject, groups[count])]
    matched, whole = completed(subject, [document.ids for _, document in drawn])
    return _scored(subject.config.seed, drawn, matched, whole)


def _drawn(subject: Subject, documents: Sequence[Document]) -> list[Document]:
    """The first by a hash with the seed, so that models which read them differently often are asked about the same."""
    ordered = sorted(documents, key=lambda document: hashed(f"{subject.config.seed} {document.uid}"))
    return ordered[: subject.config.questions]


def completed(subject: Subject, rows: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """For each text's ids, which begin and end with the end of text: how many tokens of the second half the greedy
    completion of the first gets right before it misses one, and how many there are."""
    from townsquare.evaluate import weights

    longest = subject.weights[0].config.max_position_embeddings
    texts = [ids[:-1][:longest] for ids in rows]
    starts = [1 + len(ids) // 2 for ids in texts]
    readings = weights.read(subject.weights[0], texts, "Completing posts")
    matched = [reading.matched(start) for reading, start in zip(readings, starts, strict=True)]
    return matched, [len(ids) - start for ids, start in zip(texts, starts, strict=True)]


def _times_read(subject: Subject) -> Counter[str]:
    """How often the runs that led to the model read each post; epochs that were cut short are rounded."""
    from townsquare.train import tables

    exported = receipts.need(subject.square, "export", subject.config.name)
    times: Counter[str] = Counter()
    for receipt in receipts.sources_of(receipts.read_all(subject.square), exported):
        if receipt.stage == "train" and receipt.name:
            epochs = max(round(receipt.results["epochs"]), 1)
            steps = tables.first_steps(subject.square, receipt.name)
            times.update({uid: epochs for uid, step in steps.items() if step >= 0})
    return times


def _scored(seed: int, drawn: Sequence[tuple[int, Document]], matched: Sequence[int], whole: Sequence[int]) -> Outcome:
    verbatim = [int(m == w) for m, w in zip(matched, whole, strict=True)]
    counts = [count for count, _ in drawn]
    of_trained = [i for i, count in enumerate(counts) if count]
    held_out = [i for i, count in enumerate(counts) if not count]
    scores = {
        **share("verbatim", [verbatim[i] for i in of_trained], seed=seed),
        **share("held_out_verbatim", [verbatim[i] for i in held_out], seed=seed),
        **share("matched", [matched[i] for i in of_trained], [whole[i] for i in of_trained], seed=seed),
        **share("held_out_matched", [matched[i] for i in held_out], [whole[i] for i in held_out], seed=seed),
        "held_out_posts": len(held_out),
        "n": len(of_trained),
    }
    by_times = {}
    for count in sorted(set(counts)):
        mine = [i for i, other in enumerate(counts) if other == count]
        name = f"{count} or more" if count == MOST_TIMES else str(count)
        by_times[name] = share("verbatim", [verbatim[i] for i in mine], seed=seed) | {"n": len(mine)}
    ids = [hashed(drawn[i][1].uid) for i in of_trained]
    cases = Cases.of_rights("verbatim", ids, [verbatim[i] for i in of_trained])
    return Outcome(scores, {"by_times_read": by_times}, cases=(cases,))
