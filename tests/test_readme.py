"""The README's commands exist, with the options that it gives them, and its table names every command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from townsquare.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "runs").glob("*.sh")))
CODE = re.findall(r"`(townsquare [^`\n]*)`", README) + re.findall(
    r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL
)
LINES = re.findall(r"(?:^|&& )(townsquare [^\n]*?)(?= &&|$)", "\n".join(CODE), re.MULTILINE)
LINES += re.findall(r"^ *(townsquare [^\n]*)$", SCRIPTS.replace("\\\n", " "), re.MULTILINE)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The deepest command that the words name, and what follows it."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while rest and hasattr(command, "commands") and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def test_commands_were_found() -> None:
    assert len(LINES) > 25


def commands_in(line: str) -> list[list[str]]:
    """The command of a line; and the one that it launches, after --."""
    words = shlex.split(re.sub(r"\$\{[^}]*\}", "", line))
    if "--" not in words:
        return [words]
    at = words.index("--")
    return [words[:at], ["townsquare", *words[at + 1 :]]]


@pytest.mark.parametrize("words", [words for line in LINES for words in commands_in(line)], ids=" ".join)
def test_a_command_and_its_options_exist(words: list[str]) -> None:
    command, rest = command_of(words)
    known = {option for parameter in command.params for option in parameter.opts}
    assert len(words) == 1 or command.name != "townsquare", f"{words[1]} is no command"
    assert {word for word in rest if word.startswith("--")} - {"--help"} <= known


def test_the_table_names_every_command() -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("|"))
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`townsquare {name}`" in table
