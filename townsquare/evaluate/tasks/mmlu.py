"""MMLU: multiple choice of 57 subjects (Hendrycks et al., 2021, arXiv 2009.03300)."""

from __future__ import annotations

import csv
import io
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from townsquare.errors import InputError
from townsquare.evaluate import standard
from townsquare.evaluate.subject import Outcome, Subject

NAME = "mmlu"
ABOUT = (
    "Questions drawn from all subjects together, no example before them: right if the likeliest letter is the right "
    "one. Chance is a quarter."
)
END = "_test.csv"
LARGEST_BYTES = 64 << 20
"""Of one subject's file in the archive: the real ones are under 3 MB."""


def run(subject: Subject) -> Outcome:
    """Score a draw of the archive's questions. Raises StaleError without file or harness, InputError."""
    rows = subject.drawn(read(standard.file_of(subject, standard.MMLU)))
    from townsquare.evaluate.harness import Standard, outcome

    fields: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for field, row in rows:
        fields[field].append(row)
    drawn = [Standard(f"mmlu/default/mmlu_{field}.yaml", found) for field, found in sorted(fields.items())]
    return outcome(subject, drawn, {"accuracy": "acc"})


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(subject, question) of every `SUBJECT_test.csv` in the archive. Raises InputError."""
    found = []
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                file = archive.extractfile(member) if member.name.endswith(END) else None
                if file is None:
                    continue
                text = file.read(LARGEST_BYTES).decode("utf-8")
                field = Path(member.name).name.removesuffix(END)
                for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
                    found.append((field, standard.shaped(f"{path}, {member.name}, line {number}", row, shape)))
    except (tarfile.TarError, OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(
            f"the archive cannot be read: {error}", place=str(path), remedy="Fetch the file again."
        ) from error
    return found


def shape(row: dict[str, str]) -> dict[str, Any]:
    choices = [row[f"choice{number}"] for number in range(4)]
    answer = int(row["answer"])
    if not 0 <= answer < 4 or None in choices:
        raise ValueError("the answer is none of the four choices")
    return {"question": row["question"], "choices": choices, "answer": answer}
