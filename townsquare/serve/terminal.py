"""The assistant on the terminal: one question, or a conversation."""

from __future__ import annotations

import sys

from rich.console import Console

from townsquare.model.chat import Turn
from townsquare.serve.answers import Answer
from townsquare.serve.assistant import Assistant
from townsquare.serve.config import ServeConfig
from townsquare.serve.engines import Sampling
from townsquare.square import Square

TURNS_KEPT = 8


def ask(square: Square, config: ServeConfig, question: str) -> Answer:
    """Answer one question. Raises StaleError without an index or a model, EngineError."""
    with Assistant.open(square, config) as assistant:
        return assistant.answer([("user", question)], Sampling())


def show_answer(answer: Answer, console: Console) -> None:
    """Print an answer and the posts it cites."""
    console.print(answer.text, markup=False, highlight=False)
    show_posts(answer, console)


def show_posts(answer: Answer, console: Console) -> None:
    """Print the cited posts: who, when, what, where; and up to when the index knows."""
    for citation in answer.citations:
        when = (citation.created_at or "at an unknown time")[:10]
        who = f"@{citation.author_handle}" if citation.author_handle else citation.author
        console.print(f"  [{citation.number}] {who}, {when}: ", style="dim", markup=False, highlight=False, end="")
        console.print(" ".join(citation.text.split()), markup=False, highlight=False)
        console.print(f"      {citation.url or citation.uid}", style="dim", markup=False, highlight=False)
    console.print(f"  as of {answer.as_of or 'an unknown day'}", style="dim", highlight=False)


def chat(square: Square, config: ServeConfig) -> None:
    """Talk until the end of input (Ctrl-D) or an empty line. Nothing that is said is kept."""
    console = Console()
    with Assistant.open(square, config) as assistant:
        console.print(f"{assistant.engine.name} answers from this square's posts. Ctrl-D ends.", style="dim")
        turns: list[Turn] = []
        while question := _line():
            turns = [*turns[-TURNS_KEPT:], ("user", question)]
            for piece in assistant.stream(turns, Sampling()):
                if isinstance(piece, Answer):
                    console.print()
                    show_posts(piece, console)
                    turns.append(("assistant", piece.text))
                else:
                    console.print(piece, end="", markup=False, highlight=False)


def _line() -> str:
    """What the person types; empty at the end of input."""
    print("> ", end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        print()
    return line.strip()
