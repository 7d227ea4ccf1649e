"""The questions of a real town, small, put to a model that knows the answers and to one that knows none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.evaluate.evaluate_square import put_model, put_shards
from townsquare.consent.grants import add_grant
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.run import run
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.model.chat import Turn
from townsquare.square import Square
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as make_town


class Oracle:
    """Says what `reply` makes of a question."""

    name = "oracle"
    parallel = 1

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply = reply

    def stream(self, messages: Sequence[Turn], _sampling: Any) -> Iterator[str]:
        yield self.reply(messages[-1][1])

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def town_square(tmp_path_factory: pytest.TempPathFactory) -> Square:
    square = Square.create(tmp_path_factory.mktemp("town") / "square")
    make_town(square, TownConfig(posts=600))
    add_grant(square, town.grant(square))
    for path in town.source_paths(square):
        ingest(square, IngestConfig(paths=(path,)))
    put_shards(square)
    put_model(square)
    return square


def test_every_accepted_answer_is_right_and_no_other_facts_is(
    town_square: Square, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {fact["fact_id"]: fact for fact in town.read_facts(town_square)}
    questions = {q.question: q for q in town.read_questions(town_square) if q.answerable}

    def wrong(question: str) -> str:
        """The answer to some other fact of the same kind."""
        mine = facts[questions[question].fact_id]
        alike = (fact for fact in facts.values() if fact["attribute"] == mine["attribute"])
        return next((fact["value"] for fact in alike if not set(fact["forms"]) & set(mine["forms"])), "no idea")

    for reply, share in (
        (lambda question: f"I think it is {questions[question].answers[-1]}, yes.", 1),
        (wrong, 0),
    ):
        monkeypatch.setattr("townsquare.serve.engines.open_engine", lambda square, config, reply=reply: Oracle(reply))
        (town_square.receipts / "evaluate-chat.json").unlink(missing_ok=True)
        receipt = run(town_square, EvaluateConfig(questions=10_000))
        asked = receipt.results["scores"]["town_closed_book"]
        assert asked["right"] == share
        assert 10 < asked["n"] <= len(questions)
        assert "townsquare curate" in receipt.results["skipped"]["town_filters"]
