"""The files of the standard tasks: where they are, and that the harness which scores them is there."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from townsquare.errors import InputError, StaleError
from townsquare.evaluate.subject import Subject

ARC_EASY, GSM8K, MMLU = "arc_easy_test.jsonl", "gsm8k_test.jsonl", "mmlu_test.tar.gz"
FILES = (ARC_EASY, GSM8K, MMLU)

Row = dict[str, Any]


def file_of(subject: Subject, name: str) -> Path:
    """A standard task's file. Raises StaleError without a folder, without the file in it, or without harness."""
    folder = subject.config.task_data
    if folder is None:
        raise StaleError("no files of standard tasks were given", remedy="Name their folder with: --task-data DIR")
    if not (folder / name).is_file():
        raise StaleError(f"{folder} has no {name}", remedy=f"Put the task's file there: {name}")
    if importlib.util.find_spec("lm_eval") is None:
        raise StaleError(
            "lm-evaluation-harness is not installed", remedy="Install it: pip install 'townsquare[harness]'"
        )
    return folder / name


def json_lines(path: Path, shape: Callable[[Row], Row]) -> list[Row]:
    """A file's lines as `shape` makes them. Raises InputError, naming the line, where one cannot be read."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        rows.append(shaped(f"{path}, line {number}", line, lambda text: shape(json.loads(text))))
    return rows


def shaped(place: str, given: Any, shape: Callable[[Any], Row]) -> Row:
    """`shape(given)`. Raises InputError where what it reads is not there."""
    try:
        return shape(given)
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"this is not a row of the task: {type(error).__name__}: {error}",
            place=place,
            remedy="Mend the line, or fetch the file again.",
        ) from error
