"""What a task is given, the model and the questions, and what it gives back."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from townsquare import receipts
from townsquare.errors import StaleError
from townsquare.evaluate.cases import Cases
from townsquare.evaluate.config import GGUF, EvaluateConfig
from townsquare.evaluate.scores import Scores
from townsquare.square import Square

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from townsquare.model.decoder import Decoder
    from townsquare.serve.assistant import Assistant
    from townsquare.serve.config import ServeConfig
    from townsquare.town.tables import Question

DrawnT = TypeVar("DrawnT")


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
    """What a task found: its scores, figures behind them (JSON values), and what they were counted from."""

    scores: Scores
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    replies: tuple[Reply, ...] = ()
    cases: tuple[Cases, ...] = ()


@dataclasses.dataclass(frozen=True)
class Document:
    """A document of the shards: the post that it begins with, and its token ids."""

    uid: str
    ids: tuple[int, ...]


@dataclasses.dataclass
class Subject:
    """The exported model under test, in its square. Close it after the last task."""

    square: Square
    config: EvaluateConfig

    @property
    def path(self) -> Path:
        """The exported model's folder, or the GGUF file."""
        model = self.config.model
        return Path(model) if model.endswith(GGUF) else self.square.models / model

    def serve_config(self) -> ServeConfig:
        """How the model is served to be asked. Raises StaleError when it has no GGUF form."""
        from townsquare.serve.config import ServeConfig

        if self.path.is_dir() and not (self.path / "model.gguf").is_file():
            raise StaleError("the model has no model.gguf to serve", remedy="Run first: townsquare export")
        return ServeConfig(model=self.config.model)

    @functools.cached_property
    def weights(self) -> tuple[Decoder, Tokenizer]:
        """The decoder and its vocabulary, loaded once for all tasks."""
        from townsquare.evaluate import weights

        return weights.load(self.path)

    def documents(self, *splits: str) -> list[Document]:
        """The documents of the first of these splits that has any, as the model's vocabulary has them.

        Raises StaleError when there are none, or they are of another vocabulary than the model's.
        """
        from townsquare.tokens import tables
        from townsquare.train.data import read_documents

        vocabulary = self.path / "tokenizer.json"
        if (
            not vocabulary.is_file()
            or receipts.sha256_of(vocabulary) != tables.manifest(self.square)["vocabulary_sha256"]
        ):
            raise StaleError("the shards are not of the model's vocabulary", remedy="Run first: townsquare tokens")
        for split in splits:
            read = read_documents(tables.shards(self.square, "documents", split))
            if len(read):
                bounds = zip(read.offsets, read.offsets[1:], strict=False)
                rows = [tuple(read.ids[start:stop].tolist()) for start, stop in bounds]
                return [Document(uids[0], ids) for uids, ids in zip(read.uids.to_pylist(), rows, strict=True)]
        raise StaleError(
            f"there are no {' or '.join(splits)} documents", remedy="Ingest more posts, then run: townsquare curate"
        )

    def drawn(self, found: Sequence[DrawnT], most: int | None = None) -> list[DrawnT]:
        """At most `most` of them (by default as many as there are questions), drawn with the seed, in their order."""
        count = min(most or self.config.questions, len(found))
        places = random.Random(self.config.seed).sample(range(len(found)), count)
        return [found[place] for place in sorted(places)]

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

        live = self.live_uids
        found = [
            question
            for question in sorted(town.read_questions(self.square), key=lambda question: question.id)
            if question.answerable == answerable and (not answerable or live & set(question.evidence))
        ]
        if not found:
            kind = "with" if answerable else "without"
            raise StaleError(f"the town has no question {kind} an answer")
        return self.drawn(found)

    @functools.cached_property
    def live_uids(self) -> frozenset[str]:
        """The posts that are still there."""
        from townsquare.ingest import tables

        return frozenset(tables.read_posts(self.square, columns=["uid"], where="state = 'live'")["uid"].to_pylist())
