"""A square's standing: what has run, in the flow's order, and what was made from what has changed since."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from townsquare import receipts
from townsquare.consent.grants import Grant, add_grant, revoke_grant
from townsquare.consent.inputs import grants_input
from townsquare.ingest import tables
from townsquare.receipts import Input, as_input
from townsquare.square import Square
from townsquare.status import standings


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings that a later run can differ by."""

    number: int = 1
    start_from: str | None = None


def done(square: Square, stage: str, inputs: list[Input], *, name: str | None = None, **settings: object) -> Input:
    place = Square.open(square.root, replace=True)
    config = Config(**settings)  # type: ignore[arg-type]
    with receipts.stage(place, stage, inputs=inputs, config=config, name=name) as work:
        pass
    return as_input(work.receipt)


def stale(square: Square) -> dict[str, tuple[str, ...]]:
    return {as_input(standing.receipt).name: standing.stale for standing in standings(square)}


def flow(square: Square, **settings: object) -> None:
    corpus = done(square, "curate", [tables.posts_input(square), grants_input(square)], **settings)
    shards = done(square, "tokens", [corpus])
    run = done(square, "train", [shards], name="tiny")
    tuned = done(square, "train", [shards, run], name="a-tuned", start_from="tiny")
    done(square, "export", [tuned], name="model")


def test_an_empty_square_has_no_standing(square: Square) -> None:
    assert standings(square) == []
    assert not square.ledger.exists()


def test_what_changed_makes_stale_all_that_came_of_it_and_nothing_else(square: Square) -> None:
    grant = Grant(id="g", grantor="A", grantee="B", purposes=("train",), sources=("*",))
    add_grant(square, grant)
    done(square, "ingest", [Input("file", "1")], name="one")
    flow(square)
    assert list(stale(square)) == ["ingest-one", "curate", "tokens", "train-tiny", "train-a-tuned", "export-model"]
    assert set(stale(square).values()) == {()}

    done(square, "ingest", [Input("file", "2")], name="two")
    later = {"tokens": ("curate",), "train-tiny": ("tokens",), "export-model": ("train-a-tuned",)}
    later["train-a-tuned"] = ("tokens", "train-tiny")
    assert stale(square) == {"ingest-one": (), "ingest-two": (), "curate": ("posts",), **later}

    flow(square)
    assert set(stale(square).values()) == {()}
    revoke_grant(square, "g")
    assert stale(square)["curate"] == ("grants",)
    assert stale(square)["export-model"] == ("train-a-tuned",)
    assert stale(square)["ingest-one"] == ()


def test_a_stage_made_anew_makes_stale_what_was_made_from_the_old(square: Square) -> None:
    done(square, "ingest", [Input("file", "1")], name="one")
    flow(square)
    done(square, "curate", [tables.posts_input(square), grants_input(square)], number=2)
    assert stale(square)["curate"] == ()
    assert stale(square)["tokens"] == ("curate",)


def test_inputs_that_are_no_receipts_are_never_stale(square: Square, tmp_path: Path) -> None:
    done(square, "tokens", [Input("base", "1" * 64), Input("grants_in_force", "2" * 64)])
    assert stale(square) == {"tokens": ()}
