"""Options from a config's fields: one for each, its help from the field's own docstring, absent unless typed."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from townsquare.ingest.config import IngestConfig
from townsquare.options import field_docs, with_options
from townsquare.square import Square, make_config
from townsquare.takedown.config import TakedownConfig
from townsquare.train.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    """A config of every kind of field."""

    size: str = "small"
    """How large
    it becomes."""
    count: int = 3
    """How many."""
    rate: float = 0.5
    """How fast."""
    dry_run: bool = False
    """Only look."""
    mode: Literal["slow", "quick"] = "slow"
    """How to go."""
    base: Path | None = None
    """Where from."""
    word: tuple[str, ...] = ()
    """A word."""
    path: tuple[Path, ...] = (Path("a"), Path("b"))
    """A path."""
    seed: int | None = None
    """A number to start from, as in [[seed]] or [seed]."""
    own: str = ""
    """What the command asks for itself."""


def app(seen: dict[str, Any]) -> typer.Typer:
    application = typer.Typer()

    @application.command()
    @with_options(Settings, leave_out=("own",))
    def command(place: Path = Path("."), *, own: str = "x", settings: Any) -> None:
        """Do it."""
        seen.update(place=place, own=own, settings=settings)

    return application


def typed(*arguments: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    result = CliRunner().invoke(app(seen), list(arguments))
    assert result.exit_code == 0, result.output
    return seen


def test_what_was_not_typed_is_absent() -> None:
    assert typed() == {"place": Path("."), "own": "x", "settings": {}}


def test_every_kind_of_option_becomes_its_setting() -> None:
    seen = typed(
        *[
            "--size",
            "large",
            "--count",
            "5",
            "--rate",
            "2",
            "--dry-run",
            "--mode",
            "quick",
            "--base",
            "m",
            "--seed",
            "0",
        ],
        *["--word", "one", "--word", "two", "--path", "x", "--own", "mine", "--place", "there"],
    )
    assert seen["own"] == "mine"
    assert seen["place"] == Path("there")
    assert make_config(Settings, seen["settings"]) == Settings(
        "large", 5, 2.0, True, "quick", Path("m"), ("one", "two"), (Path("x"),), 0
    )
    assert typed("--no-dry-run")["settings"] == {"dry_run": False}


def test_help_comes_from_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = CliRunner().invoke(app({}), ["--help"]).output
    assert "How large it becomes." in text
    assert "[default: small]" in text
    assert "[default: a, b]" in text
    assert "as in [[seed]] or [seed]." in text
    assert "What the command asks for itself" not in text
    assert "--settings" not in text
    assert field_docs(Settings)["count"] == "How many."


def test_a_wrong_kind_of_value_is_refused_before_the_command_runs() -> None:
    seen: dict[str, Any] = {}
    assert CliRunner().invoke(app(seen), ["--count", "many"]).exit_code == 2
    assert CliRunner().invoke(app(seen), ["--nonsense"]).exit_code == 2
    assert seen == {}


def test_the_file_speaks_where_the_command_line_is_silent(square: Square) -> None:
    (square.root / "townsquare.toml").write_text('[tokens]\nsize = "from the file"\nword = ["filed"]\ncount = 9\n')
    config = Square.open(square.root).config("tokens", Settings, **typed("--count", "1")["settings"])
    assert (config.size, config.word, config.count) == ("from the file", ("filed",), 1)


@pytest.mark.parametrize("cls", [IngestConfig, TakedownConfig, TrainConfig])
def test_every_field_of_a_real_config_has_a_doc_and_an_option(cls: type) -> None:
    names = {field.name for field in dataclasses.fields(cls)}
    assert field_docs(cls).keys() == names

    @with_options(cls)
    def command(*, settings: Any) -> None: ...

    assert inspect.signature(command).parameters.keys() == names
    application = typer.Typer()
    application.command()(command)
    result = CliRunner().invoke(application, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert all("--" + name.replace("_", "-") in result.output for name in names)
