"""Standard tasks through lm-evaluation-harness (Gao et al., 2021), our decoder as its model, its questions from files.

The harness brings each task's prompt, its metrics and how answers are read; the files stand in for the hub that it
would ask, so that nothing here touches a network. It is the extra `harness`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
from datasets import Dataset
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks._yaml_loader import load_yaml

from townsquare.evaluate import weights
from townsquare.evaluate.cases import Cases
from townsquare.evaluate.scores import Scores, share
from townsquare.evaluate.subject import Outcome, Subject

END_OF_TEXT = 0
MOST_NEW_TOKENS = 256
AT_ONCE = 64
"""Tokens written before the end marks are looked for."""

Rows = Sequence[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Standard:
    """A task of the harness: the file of its definition there, and rows shaped as on the hub."""

    definition: str
    rows: Rows
    shots: Rows = ()
    """Rows for the examples in the prompt; they are never scored."""


def outcome(subject: Subject, standards: Sequence[Standard], metrics: dict[str, str]) -> Outcome:
    """Score the rows of all these as one task. `metrics` maps our names to "METRIC" or "METRIC,FILTER" of the harness;
    the first one stands first."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    samples = [sample for standard in standards for sample in _samples(subject, standard)]
    scores: Scores = {}
    cases = []
    for name, known_as in metrics.items():
        metric, _, chosen = known_as.partition(",")
        mine = [sample for sample in samples if not chosen or sample["filter"] == chosen]
        right = [int(sample[metric]) for sample in mine]
        scores |= share(name, right, seed=subject.config.seed) | {"n": len(mine)}
        cases.append(Cases.of_rights(name, [sample["doc_hash"][:16] for sample in mine], right))
    return Outcome(
        scores, {"harness": {"version": lm_eval.__version__, "shots": len(standards[0].shots)}}, (), tuple(cases)
    )


def _samples(subject: Subject, standard: Standard) -> list[dict[str, Any]]:
    definition = load_yaml(Path(lm_eval.__file__).parent / "tasks" / standard.definition)
    splits = {"test": Dataset.from_list(list(standard.rows))}
    if standard.shots:
        splits["train"] = Dataset.from_list(list(standard.shots))
    here = "train" if standard.shots else None
    changed = {
        "custom_dataset": lambda **_: splits,
        "training_split": here,
        "validation_split": None,
        "fewshot_split": here,
        "num_fewshot": len(standard.shots),
    }
    task = ConfigurableTask(config=definition | changed)
    task.set_fewshot_seed(subject.config.seed)
    tasks = {"tasks": {task.task_name: task}, "groups": {}, "group_map": {}}
    found = evaluate(Model(subject), tasks, bootstrap_iters=0, log_samples=True)
    return [sample for samples in found["samples"].values() for sample in samples]


class Model(LM):
    """Our decoder as the harness knows models."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self._decoder, self._tokenizer = subject.weights
        self._longest = self._decoder.config.max_position_embeddings

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """(natural logarithm of the continuation's probability, whether it is the likeliest), a request.

        Context and continuation are encoded together, and parted where the context alone would end, spaces at its
        end going to the continuation; an empty context is the end of a text. What is too long loses its beginning.
        """
        parts = [self._parted(*request.args) for request in requests]
        rows = [(context + following)[-self._longest :] for context, following in parts]
        found = []
        for reading, (_, following) in zip(weights.read(self._decoder, rows, "Scoring"), parts, strict=True):
            count = min(len(following), len(reading.bits))
            bits = float(reading.bits[len(reading.bits) - count :].sum())
            found.append((-bits * math.log(2), bool(reading.likeliest[len(reading.likeliest) - count :].all())))
        return found

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """The natural logarithm of each text's probability, as much of its end as fits the decoder."""
        rows = [[END_OF_TEXT, *self._encode(request.args[0])][-self._longest :] for request in requests]
        return [-float(reading.bits.sum()) * math.log(2) for reading in weights.read(self._decoder, rows, "Scoring")]

    def generate_until(self, requests: list[Any]) -> list[str]:
        """The likeliest continuation of each context, up to the first of its end marks."""
        return [self._until(context, settings) for context, settings in (request.args for request in requests)]

    def _until(self, context: str, settings: dict[str, Any]) -> str:
        most = int(settings.get("max_gen_toks", MOST_NEW_TOKENS))
        marks = settings.get("until") or []
        ids, written = self._encode(context)[-(self._longest - most) :], list[int]()
        while len(written) < most:
            new = self._decoder.generate(
                ids + written, max_tokens=min(AT_ONCE, most - len(written)), stop=frozenset({END_OF_TEXT})
            )
            written += new
            text = self._tokenizer.decode(written, skip_special_tokens=False)
            if len(new) < AT_ONCE or any(mark in text for mark in marks):
                break
        text = self._tokenizer.decode(written, skip_special_tokens=False)
        return min((text.partition(mark)[0] for mark in marks), key=len, default=text)

    def _parted(self, context: str, following: str) -> tuple[list[int], list[int]]:
        bare = context.rstrip()
        following, context = context[len(bare) :] + following, bare
        if not context:
            return [END_OF_TEXT], self._encode(following)
        whole, start = self._encode(context + following), len(self._encode(context))
        return whole[:start], whole[start:]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
