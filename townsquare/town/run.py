"""The town stage: a seed -> source files, and the truth about them."""

from __future__ import annotations

import shutil
from pathlib import Path

from townsquare import receipts
from townsquare.progress import progress
from townsquare.receipts import Receipt
from townsquare.square import Square, disk_errors_explained
from townsquare.town.config import TownConfig
from townsquare.town.distinct import Distinct
from townsquare.town.formats import Expected, writers
from townsquare.town.questions import Evidence, make_questions
from townsquare.town.stream import stream
from townsquare.town.threads import Talk
from townsquare.town.truth import Truth
from townsquare.town.world import World

REPORT_EVERY = 1_000


def run(square: Square, config: TownConfig) -> Receipt:
    """Write the town's sources and truth. Raises StorageError when the disk is full."""
    with receipts.stage(square, "town", inputs=[], config=config) as work:
        if work.done:
            return work.done
        for name in (".partial", "sources", "truth"):
            shutil.rmtree(square.town / name, ignore_errors=True)
        partial = square.town / ".partial"
        with disk_errors_explained(partial):
            figures = _build(partial, config)
            for name in ("sources", "truth"):
                (partial / name).rename(square.town / name)
        partial.rmdir()
        work.count(seen=config.posts, kept=config.posts)
        work.results.update(
            **figures,
            outputs={name: receipts.sha256_of(square.town / name) for name in ("sources", "truth")},
        )
    return work.receipt


def _build(folder: Path, config: TownConfig) -> dict[str, object]:
    for name in ("sources", "truth"):
        (folder / name).mkdir(parents=True)
    world, talk = World(config.posts, config.seed), Talk()
    files, truth = writers(folder / "sources", world), Truth(folder / "truth")
    evidence, distinct = Evidence(world), Distinct(world.all_names())
    with progress("Building the town", config.posts) as bar:
        for number, post in enumerate(stream(world, talk, config.posts, config.seed), start=1):
            for writer in files:
                writer.post(post)
            truth.post(post)
            evidence.post(post)
            distinct.post(post)
            if number % REPORT_EVERY == 0:
                bar.advance(REPORT_EVERY)
    expected = [item for writer in files for item in writer.close()]
    questions = make_questions(world, talk, evidence, config.seed)
    truth.close(world, expected, questions)
    return {
        "formats": _by_format(expected),
        "kinds": dict(sorted(truth.kinds.items())),
        "languages": dict(sorted(truth.langs.items())),
        "defects": dict(sorted(truth.defects.items())),
        "states": dict(sorted(truth.states.items())),
        "people": len(world.people),
        "facts": len(world.facts),
        "questions": len(questions),
        "answerable": sum(question.answerable for question in questions),
        "distinct_share": round(distinct.share(), 4),
    }


def _by_format(expected: list[Expected]) -> dict[str, int]:
    """Posts, events included, that each format's files hold."""
    found: dict[str, int] = {}
    for item in expected:
        found[item.format] = found.get(item.format, 0) + item.kept + item.events
    return found
