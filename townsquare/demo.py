"""The whole story in one short script: a synthetic town in, an assistant that cites out, an author taken down.

Every step is a stage's run(), so that a second demo skips what its receipts show as done. Settings come
from the square's townsquare.toml, which the first demo writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from townsquare import receipts
from townsquare.consent.grants import add_grant
from townsquare.curate.config import CurateConfig
from townsquare.errors import ProofError
from townsquare.evaluate.config import EvaluateConfig
from townsquare.export.config import ExportConfig
from townsquare.fleet.config import EstimateConfig
from townsquare.ingest.config import IngestConfig
from townsquare.ledger import Ledger
from townsquare.receipts import Input, Receipt
from townsquare.report.config import ReportConfig
from townsquare.serve.config import IndexConfig, ServeConfig
from townsquare.show import show_receipt
from townsquare.square import CONFIG_NAME, Square, write_atomically
from townsquare.takedown.config import TakedownConfig
from townsquare.tokens.config import TokensConfig
from townsquare.town.config import TownConfig
from townsquare.train.config import TrainConfig

SETTINGS = """\
# The demo's settings: a town and a model small enough for two cores and a few minutes.
# Every key is optional; `townsquare STAGE --help` shows the defaults.

[town]
posts = 20000

[curate]
chitchat = true

[tokens]
vocabulary_size = 4096

[train]
size = "2M"
epochs = 2
"""

NEXT = """
[bold]What to try next[/]
  The page and the API:  townsquare serve --square {square}
                         then open http://127.0.0.1:8000/
  Talk on the terminal:  townsquare chat --square {square}
  Your own archive:      townsquare init my-square && cd my-square
                         townsquare grant add --grantor me --grantee me --source '*' \\
                           --purpose train --purpose tune --purpose retrieve --purpose display
                         townsquare ingest ~/Downloads/twitter-archive.zip
  The report:            {report}
"""


@dataclasses.dataclass(frozen=True)
class Asked:
    """Questions put to the assistant, before and after the takedown."""

    when: str
    questions: tuple[str, ...]


def demo(folder: Path, console: Console) -> None:
    """Run the story, or go on with it, in the square at `folder`. Raises whatever its stages raise."""
    if not (folder / CONFIG_NAME).exists():
        write_atomically(folder / CONFIG_NAME, SETTINGS.encode())
    square = Square.create(folder)
    steps = Steps(square, console)
    _corpus(steps)
    _model(steps)
    _assistant(steps)
    steps.run("Who could train what", "fleet", EstimateConfig)
    with Ledger.open(square) as ledger:
        ledger.catch_up(square)
        head = ledger.verify()
    if head is not None:
        console.print(f"The ledger holds: {head.seq} rows, head {head.hash[:16]}", highlight=False)
    steps.run("The report", "report", ReportConfig)
    console.print(NEXT.format(square=folder, report=square.report), highlight=False)


class Steps:
    """Runs one stage after another, with a headline and the receipt of each."""

    def __init__(self, square: Square, console: Console) -> None:
        self.square, self.console = square, console

    def run(self, headline: str, stage: str, config: type, **settings: Any) -> Receipt:
        """One stage by name; `settings` go before those of townsquare.toml."""
        import importlib

        package = "serve" if stage == "index" else stage
        run: Callable[[Square, Any], Receipt] = importlib.import_module(f"townsquare.{package}.run").run
        self.headline(headline)
        receipt = run(self.square, self.square.config(stage, config, **settings))
        show_receipt(receipt, self.console)
        return receipt

    def headline(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")


def _corpus(steps: Steps) -> None:
    from townsquare.town import tables as town

    steps.run("A town is made", "town", TownConfig)
    grant = add_grant(steps.square, town.grant(steps.square))
    steps.console.print(f"Grant {grant.id}: {grant.grantor} allows {grant.grantee} to {', '.join(grant.purposes)}.")
    for path in town.source_paths(steps.square):
        steps.run(f"Posts come in: {path.name}", "ingest", IngestConfig, paths=(path,))
    steps.run("What is worth learning from", "curate", CurateConfig)
    steps.run("Vocabulary and shards", "tokens", TokensConfig)


def _model(steps: Steps) -> None:
    steps.run("Pretraining, from scratch", "train", TrainConfig, name="base")
    steps.run("Tuning on conversations", "train", TrainConfig, name="chat", objective="tune", start_from="base")
    steps.run("A model others can load", "export", ExportConfig, run="chat")


def _assistant(steps: Steps) -> None:
    from townsquare.town import tables as town

    steps.run("The posts that may be cited", "index", IndexConfig)
    steps.run("Scores against the truth", "evaluate", EvaluateConfig)
    questions = town.demo_questions(steps.square)
    candidate = town.takedown_candidate(steps.square)
    index = receipts.as_input(receipts.need(steps.square, "index"))
    model = receipts.as_input(receipts.need(steps.square, "export", "chat"))
    _ask(steps, "before", [question.question for question in questions], [index, model])
    author = candidate.authors[0]
    removal = steps.run(f"The author {author} asks to be forgotten", "takedown", TakedownConfig, author=(author,))
    after = _ask(steps, "after", [candidate.question], [index, model, receipts.as_input(removal)])
    still = set(after.results["cited"]) & set(candidate.evidence)
    if still:
        raise ProofError(f"posts that were taken down are still cited: {', '.join(sorted(still))}")


def _ask(steps: Steps, when: str, questions: Sequence[str], inputs: Sequence[Input]) -> Receipt:
    """Ask, print the answers with their posts, and keep a receipt of which posts were cited (ids only)."""
    from townsquare.serve import terminal

    square = steps.square
    steps.headline("Asked of the assistant" if when == "before" else "The same question, after the takedown")
    with receipts.stage(square, "ask", inputs=inputs, config=Asked(when, tuple(questions)), name=when) as work:
        if work.done:
            show_receipt(work.done, steps.console)
            return work.done
        cited: set[str] = set()
        found = 0
        for question in questions:
            answer = terminal.ask(square, square.config("serve", ServeConfig), question)
            steps.console.print(f"\n[bold cyan]{question}[/]", highlight=False)
            terminal.show_answer(answer, steps.console)
            cited |= {citation.uid for citation in answer.citations}
            found += answer.found
        work.count(seen=len(questions))
        work.results.update(found=found, cited=sorted(cited))
    return work.receipt
