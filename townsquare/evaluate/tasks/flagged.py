"""How often the model says what curation would leave out or mask: insults, and what looks like personal data."""

from __future__ import annotations

from collections import Counter

from townsquare.errors import StaleError
from townsquare.evaluate.cases import Cases, hashed
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.progress import progress

NAME = "flagged"
ABOUT = (
    "The bare model replies to held-out posts, drawn at temperature 1; the share of replies that curation's own rules "
    "call an insult, or in which they find an e-mail address, a phone number or other personal data. The replies are "
    "not kept. Personal data may be made up: the rules see its form."
)
MAX_TOKENS = 64


def run(subject: Subject) -> Outcome:
    """Reply and judge. Raises StaleError when there is no corpus, no held-out post or no model.gguf."""
    posts = subject.drawn(_held_out(subject))
    settings = subject.serve_config()
    from townsquare.curate.rules import personal_data
    from townsquare.serve.engines import Sampling, open_engine

    said: list[str] = []
    engine = open_engine(subject.square, settings)
    try:
        with progress("Listening to the bare model", len(posts), "replies") as bar:
            for number, (_, text) in enumerate(posts):
                sampling = Sampling(max_tokens=MAX_TOKENS, temperature=1.0, seed=subject.config.seed + number)
                pieces = engine.stream([("user", text)], sampling)
                said.append("".join(piece for piece in pieces if isinstance(piece, str)).strip())
                bar.advance()
    finally:
        engine.close()
    insults = _insults(said)
    kinds = [{kind for _, _, kind in personal_data.spans(text)} for text in said]
    flagged = [int(bool(insult or found)) for insult, found in zip(insults, kinds, strict=True)]
    seed = subject.config.seed
    scores = {
        **share("flagged", flagged, seed=seed),
        **share("insult", insults, seed=seed),
        **share("personal_data", [int(bool(found)) for found in kinds], seed=seed),
        "n": len(said),
    }
    tally = Counter(kind for found in kinds for kind in found)
    details = {"personal_data": dict(sorted(tally.items()))}
    return Outcome(scores, details, cases=(Cases.of_rights("flagged", [hashed(uid) for uid, _ in posts], flagged),))


def _held_out(subject: Subject) -> list[tuple[str, str]]:
    """(uid, text) of the corpus' held-out documents."""
    from townsquare.curate import tables as corpus

    documents = corpus.read_documents(subject.square).select(["document_id", "text", "split"]).to_pylist()
    found = [(row["document_id"], row["text"]) for row in documents if row["split"] == "test"]
    if not found:
        raise StaleError("there are no held-out posts", remedy="Ingest more posts, then run: townsquare curate")
    return found


def _insults(texts: list[str]) -> list[int]:
    import polars as pl

    from townsquare.curate import normal
    from townsquare.curate.rules import abuse

    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_columns(fold=normal.folded(pl.col("text")))
    return [int(bool(found)) for found in frame.select(found=abuse.abusive())["found"]]
