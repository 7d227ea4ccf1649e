"""The house's rules that no linter holds: sizes, doors, names, the options in all, what may be imported where."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "townsquare").rglob("*.py"))
STAGES = (
    "town",
    "ingest",
    "curate",
    "tokens",
    "train",
    "export",
    "serve",
    "evaluate",
    "takedown",
    "audit",
    "report",
    "fleet",
)
GOLDEN = Path(__file__).with_name("options.txt")


def test_files_stay_under_400_lines() -> None:
    assert [f"{f.relative_to(ROOT)}" for f in FILES if len(f.read_text(encoding="utf-8").splitlines()) >= 400] == []


def test_functions_stay_under_60_lines() -> None:
    long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (node.end_lineno or 0) - node.lineno + 1 >= 60
    ]
    assert long == []


def test_no_room_for_odds_and_ends() -> None:
    assert [f.name for f in FILES if f.stem in ("utils", "helpers", "common", "misc")] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_two_doors(stage: str) -> None:
    config = importlib.import_module(f"townsquare.{stage}.config")
    classes = [c for c in vars(config).values() if dataclasses.is_dataclass(c) and c.__module__ == config.__name__]
    assert classes
    assert all(c.__dataclass_params__.frozen for c in classes)  # type: ignore[attr-defined]
    assert callable(importlib.import_module(f"townsquare.{stage}.run").run)


def test_every_option_is_a_line_of_the_golden_file() -> None:
    """A new option is a visible line in a change: add it to options.txt by hand, if it is worth having."""
    from townsquare.options import field_docs

    lines = []
    for stage in STAGES:
        module = importlib.import_module(f"townsquare.{stage}.config")
        for name, cls in sorted(vars(module).items()):
            if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__ == module.__name__:
                fields = [field.name for field in dataclasses.fields(cls)]
                assert set(field_docs(cls)) == set(fields), f"{name} has a field without a docstring"
                lines += [f"{stage} {name}.{field}" for field in fields]
    assert lines == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_training_imports_no_table_engine() -> None:
    code = (
        "import sys, townsquare.train.run, townsquare.model.gguf_files;"
        "print(sorted({'daft', 'lance', 'pydantic', 'polars', 'fastapi', 'transformers'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_from_the_command_line_to_the_gradient_in_three_files() -> None:
    assert "townsquare.train.run" in (ROOT / "townsquare/cli.py").read_text(encoding="utf-8")
    assert "from townsquare.train.loop import" in (ROOT / "townsquare/train/run.py").read_text(encoding="utf-8")
    assert "loss.backward()" in (ROOT / "townsquare/train/loop.py").read_text(encoding="utf-8")
