"""The assistant on a terminal: one question, or a conversation."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from townsquare.model.chat import Turn
from townsquare.serve.answers import Answer, Citation
from townsquare.serve.assistant import Assistant
from townsquare.serve.config import ServeConfig
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.tally import Tally
from townsquare.square import Square


def ask(square: Square, config: ServeConfig, question: str, filters: Filters = NONE) -> Answer:
    """Answer one question. Raises StaleError without an index or model, EngineError, InputError."""
    with Assistant.open(square, config) as assistant:
        answer = assistant.answer([("user", question)], filters=filters)
    tally = Tally(square)
    tally.count(answer)
    tally.record()
    return answer


def show_answer(answer: Answer, console: Console) -> None:
    """Print the answer, then the posts that it cites."""
    console.print(Text(visible(answer.text)))
    _show_posts(answer, console)


def chat(square: Square, config: ServeConfig, filters: Filters = NONE) -> None:
    """Talk until the end of input (Ctrl-D). Raises as `ask` does."""
    console = Console()
    turns: list[Turn] = []
    tally = Tally(square)
    with tally.recording(), Assistant.open(square, config) as assistant:
        console.print("Ask about the posts. Ctrl-D ends.", style="dim")
        while (line := _read(console)) is not None:
            if not line.strip():
                continue
            turns.append(("user", line))
            answer = _speak(assistant, turns, filters, console)
            tally.count(answer)
            turns.append(("assistant", answer.text))


def _read(console: Console) -> str | None:
    try:
        return console.input("[bold]> [/bold]")
    except (EOFError, KeyboardInterrupt):
        console.print()
        return None


def _speak(assistant: Assistant, turns: list[Turn], filters: Filters, console: Console) -> Answer:
    answer: Answer | None = None
    for piece in assistant.stream(turns, filters=filters):
        if isinstance(piece, Answer):
            answer = piece
        else:
            console.print(Text(visible(piece)), end="")
    console.print()
    assert answer is not None  # a stream ends with the Answer
    _show_posts(answer, console)
    return answer


def _show_posts(answer: Answer, console: Console) -> None:
    for citation in answer.citations:
        console.print(Text(visible(card(citation))), style="dim")
    if answer.as_of:
        console.print(Text(f"Newest post here: {answer.as_of}"), style="dim")


def card(citation: Citation) -> str:
    """A cited post in two lines: number, who, when, where; then what it says."""
    who = f"@{citation.author_handle}" if citation.author_handle else citation.author
    place = [citation.network, who, (citation.created_at or "no date")[:10], citation.url or citation.uid]
    return f"[{citation.number}] {' · '.join(place)}\n    {' '.join(citation.text.split())}"


def visible(text: str) -> str:
    """A person's text without control characters: a post cannot move the cursor or colour the terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)
