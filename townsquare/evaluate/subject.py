"""What a task is given, the model and the questions, and what it gives back."""

from __future__ import annotations

import dataclasses
import functools
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from townsquare import receipts
from townsquare.errors import StaleError
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.scores import Scores
from townsquare.square import Square

if TYPE_CHECKING:
    from townsquare.serve.assistant import Assistant
    from townsquare.serve.config import ServeConfig
    from townsquare.town.tables import Question


@dataclasses.dataclass(frozen=True)
class Reply:
    """One question as it was answered, kept for looking at. `cited` are the uids that the answer shows."""

    task: str
    question_id: str
    question: str
    answer: str
    right: bool
    cited: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a task found: its scores, figures behind them (JSON values), and the replies they were counted from."""

    scores: Scores
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    replies: tuple[Reply, ...] = ()


@dataclasses.dataclass
class Subject:
    """The exported model under test, in its square. Close it after the last task."""

    square: Square
    config: EvaluateConfig

    @property
    def folder(self) -> Path:
        return self.square.models / self.config.model

    def serve_config(self) -> ServeConfig:
        """How the model is served to be asked. Raises StaleError when it has no GGUF form."""
        from townsquare.serve.config import ServeConfig

        if not (self.folder / "model.gguf").is_file():
            raise StaleError("the model has no model.gguf to serve", remedy="Run first: townsquare export")
        return ServeConfig(model=self.config.model)

    @functools.cached_property
    def assistant(self) -> Assistant:
        """The assistant, opened once for all tasks. Raises StaleError when there is no index."""
        receipts.need(self.square, "index")
        settings = self.serve_config()
        from townsquare.serve.assistant import Assistant

        return Assistant.open(self.square, settings)

    def close(self) -> None:
        """Free the assistant, if any task opened it."""
        if "assistant" in self.__dict__:
            self.assistant.close()

    def questions(self, *, answerable: bool) -> list[Question]:
        """The questions to ask, by id: drawn with the seed from those that have an answer, or have none.

        A question whose every post was removed since has no answer in the town any more, and is left out.
        Raises StaleError when there is no town, or none of its questions is of that kind.
        """
        from townsquare.town import tables as town

        live = self._live_uids()
        found = [
            question
            for question in sorted(town.read_questions(self.square), key=lambda question: question.id)
            if question.answerable == answerable and (not answerable or live & set(question.evidence))
        ]
        if not found:
            kind = "with" if answerable else "without"
            raise StaleError(f"the town has no question {kind} an answer")
        drawn = random.Random(self.config.seed).sample(found, min(self.config.questions, len(found)))
        return sorted(drawn, key=lambda question: question.id)

    def _live_uids(self) -> set[str]:
        from townsquare.ingest import tables

        return set(tables.read_posts(self.square, columns=["uid"], where="state = 'live'")["uid"].to_pylist())
