"""GSM8K: word problems whose answer is a number (Cobbe et al., 2021, arXiv 2110.14168)."""

from __future__ import annotations

from typing import Any

from townsquare.evaluate import standard
from townsquare.evaluate.subject import Outcome, Subject

NAME = "gsm8k"
ABOUT = (
    "Word problems with five solved ones before each, the first five of the file, which are not scored: right if the "
    "number after #### is the right one (strict), or the last number of what the model writes (flexible)."
)
SHOTS = 5


def run(subject: Subject) -> Outcome:
    """Score a draw of the file's problems. Raises StaleError without file or harness, InputError for a broken one."""
    rows = standard.json_lines(standard.file_of(subject, standard.GSM8K), shape)
    from townsquare.evaluate.harness import Standard, outcome

    drawn = Standard("gsm8k/gsm8k.yaml", subject.drawn(rows[SHOTS:]), rows[:SHOTS])
    return outcome(subject, [drawn], {"strict": "exact_match,strict-match", "flexible": "exact_match,flexible-extract"})


def shape(row: dict[str, Any]) -> dict[str, Any]:
    return {"question": str(row["question"]), "answer": str(row["answer"])}
