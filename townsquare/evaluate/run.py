"""The evaluate stage: a model -> scores."""

from __future__ import annotations

import hashlib
from types import ModuleType
from typing import Any

from townsquare import receipts
from townsquare.errors import ConfigError, InputError, StaleError
from townsquare.evaluate import cases, replies, standard
from townsquare.evaluate.card import with_scores
from townsquare.evaluate.config import GGUF, EvaluateConfig
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.evaluate.tasks import TASKS
from townsquare.receipts import Input, Receipt
from townsquare.square import Square, write_atomically

JUDGED_BY = ("town", "ingest", "curate", "tokens", "index")
"""Stages whose outputs the tasks read beside the model; one that has not run leaves tasks out."""


def run(square: Square, config: EvaluateConfig) -> Receipt:
    """Score a model by every task whose needs are there, or by those that the config names.

    Raises StaleError when the model was not exported, InputError when its folder or file is gone, ConfigError for a
    task that there is not.
    """
    tasks = _chosen(config)
    inputs = [_model_input(square, config), *_judges(square), *_task_data(config)]
    with receipts.stage(square, "evaluate", inputs=inputs, config=config, name=config.name) as work:
        if work.done:
            return work.done
        outcomes, skipped = _score(square, config, tasks)
        table = replies.table_of(square, [reply for outcome in outcomes.values() for reply in outcome.replies])
        found = cases.table_of([(name, one) for name, outcome in outcomes.items() for one in outcome.cases])
        outputs = {"answers": replies.encoded(table), "cases": replies.encoded(found)}
        write_atomically(replies.path(square, config.name), outputs["answers"])
        write_atomically(cases.path(square, config.name), outputs["cases"])
        work.count(seen=len(tasks), kept=len(outcomes))
        work.results.update(
            scores={name: outcome.scores for name, outcome in outcomes.items()},
            skipped=skipped,
            about={task.NAME: task.ABOUT for task in tasks if task.NAME in outcomes},
            details={name: outcome.details for name, outcome in outcomes.items() if outcome.details},
            outputs={name: hashlib.sha256(data).hexdigest() for name, data in outputs.items()},
        )
        _write_card(square, config, work.results)
    return work.receipt


def _write_card(square: Square, config: EvaluateConfig, results: dict[str, Any]) -> None:
    card = square.models / config.name / "README.md"
    if not config.model.endswith(GGUF) and card.is_file():
        write_atomically(card, with_scores(card.read_text(encoding="utf-8"), results).encode())


def _chosen(config: EvaluateConfig) -> list[ModuleType]:
    known = {task.NAME for task in TASKS}
    for name in config.tasks:
        if name not in known:
            raise ConfigError(f"there is no task {name!r}", remedy="Tasks are: " + ", ".join(sorted(known)))
    return [task for task in TASKS if not config.tasks or task.NAME in config.tasks]


def _model_input(square: Square, config: EvaluateConfig) -> Input:
    path = Subject(square, config).path
    if config.model.endswith(GGUF):
        if not path.is_file():
            raise InputError("there is no such model file", place=str(path), remedy="Mend the path.")
        return Input("model", receipts.sha256_of(path))
    exported = receipts.need(square, "export", config.model)
    if not path.is_dir():
        raise InputError("the exported model is gone", place=str(path), remedy="Export it with --replace.")
    return receipts.as_input(exported)


def _judges(square: Square) -> list[Input]:
    return [receipts.as_input(receipt) for stage in JUDGED_BY for receipt in receipts.read_all(square, stage)]


def _task_data(config: EvaluateConfig) -> list[Input]:
    """The files of the standard tasks that are there. Raises InputError when the folder is not."""
    if config.task_data is None:
        return []
    if not config.task_data.is_dir():
        raise InputError("there is no such folder", place=str(config.task_data), remedy="Mend the path.")
    files = [config.task_data / name for name in standard.FILES]
    return [Input(path.name, receipts.sha256_of(path)) for path in files if path.is_file()]


def _score(
    square: Square, config: EvaluateConfig, tasks: list[ModuleType]
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Outcomes by task, and why the others were skipped."""
    outcomes: dict[str, Outcome] = {}
    skipped: dict[str, Any] = {}
    subject = Subject(square, config)
    try:
        for task in tasks:
            try:
                outcomes[task.NAME] = task.run(subject)
            except StaleError as error:
                skipped[task.NAME] = f"{error.message}. {error.remedy or ''}".strip()
    finally:
        subject.close()
    return outcomes, skipped
