"""The evaluate stage: an exported model -> scores."""

from __future__ import annotations

import hashlib
from typing import Any

from townsquare import receipts
from townsquare.errors import InputError, StaleError
from townsquare.evaluate import replies
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.evaluate.tasks import TASKS
from townsquare.receipts import Input, Receipt
from townsquare.square import Square, write_atomically

JUDGED_BY = ("town", "ingest", "curate", "tokens", "index")
"""Stages whose outputs the tasks read beside the model; one that has not run leaves tasks out."""


def run(square: Square, config: EvaluateConfig) -> Receipt:
    """Score `models/NAME` by every task whose needs are there.

    Raises StaleError when the model was not exported, InputError when its folder is gone.
    """
    exported = receipts.need(square, "export", config.model)
    if not (square.models / config.model).is_dir():
        raise InputError(
            "the exported model is gone", place=str(square.models / config.model), remedy="Export it with --replace."
        )
    inputs = [receipts.as_input(exported), *_judges(square)]
    with receipts.stage(square, "evaluate", inputs=inputs, config=config, name=config.model) as work:
        if work.done:
            return work.done
        outcomes, skipped = _score(square, config)
        table = replies.table_of(square, [reply for outcome in outcomes.values() for reply in outcome.replies])
        data = replies.encoded(table)
        write_atomically(replies.path(square, config.model), data)
        work.count(seen=len(TASKS), kept=len(outcomes))
        work.results.update(
            scores={name: outcome.scores for name, outcome in outcomes.items()},
            skipped=skipped,
            about={task.NAME: task.ABOUT for task in TASKS if task.NAME in outcomes},
            details={name: outcome.details for name, outcome in outcomes.items() if outcome.details},
            outputs={"answers": hashlib.sha256(data).hexdigest()},
        )
    return work.receipt


def _judges(square: Square) -> list[Input]:
    return [receipts.as_input(receipt) for stage in JUDGED_BY for receipt in receipts.read_all(square, stage)]


def _score(square: Square, config: EvaluateConfig) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Outcomes by task, and why the others were skipped."""
    outcomes: dict[str, Outcome] = {}
    skipped: dict[str, Any] = {}
    subject = Subject(square, config)
    try:
        for task in TASKS:
            try:
                outcomes[task.NAME] = task.run(subject)
            except StaleError as error:
                skipped[task.NAME] = f"{error.message}. {error.remedy or ''}".strip()
    finally:
        subject.close()
    return outcomes, skipped
