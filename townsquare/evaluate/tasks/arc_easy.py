"""ARC-Easy: school science questions with a choice of answers (Clark et al., 2018, arXiv 1803.05457)."""

from __future__ import annotations

from typing import Any

from townsquare.evaluate import standard
from townsquare.evaluate.subject import Outcome, Subject

NAME = "arc_easy"
ABOUT = (
    "School science questions, no example before them: right if the likeliest of the answers is the right one, as it "
    "is (accuracy), and by its length (accuracy normalised). Chance is about a quarter."
)


def run(subject: Subject) -> Outcome:
    """Score a draw of the file's questions. Raises StaleError without file or harness, InputError for a broken one."""
    rows = standard.json_lines(standard.file_of(subject, standard.ARC_EASY), shape)
    from townsquare.evaluate.harness import Standard, outcome

    drawn = Standard("arc/arc_easy.yaml", subject.drawn(rows))
    return outcome(subject, [drawn], {"accuracy_normalised": "acc_norm", "accuracy": "acc"})


def shape(row: dict[str, Any]) -> dict[str, Any]:
    """A line with query, choices and gold (the right one's place) as the hub has it; hub lines stay."""
    if "answerKey" in row:
        return {"question": row["question"], "choices": row["choices"], "answerKey": row["answerKey"]}
    labels = [chr(ord("A") + number) for number in range(len(row["choices"]))]
    return {
        "question": row["query"].removeprefix("Question:").strip(),
        "choices": {"text": row["choices"], "label": labels},
        "answerKey": labels[row["gold"]],
    }
