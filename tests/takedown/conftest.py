"""The town's square, built once, and a copy of it for each test that changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import town_square

from townsquare.square import Square


@pytest.fixture(scope="session")
def town_built(tmp_path_factory: pytest.TempPathFactory) -> Square:
    return town_square.build(tmp_path_factory.mktemp("town") / "square")


@pytest.fixture(scope="session")
def victim(town_built: Square) -> tuple[str, str]:
    """(uid, text) of the post that the tests take down."""
    return town_square.victim(town_built)


@pytest.fixture(scope="session")
def town_without(town_built: Square, victim: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Square:
    """The same square after the takedown of `victim`: not to be changed."""
    square = _copy(town_built, tmp_path_factory.mktemp("without"))
    town_square.taken_down(square, victim[0])
    return square


@pytest.fixture
def full(town_built: Square, tmp_path: Path) -> Square:
    """A copy of the square, before any takedown."""
    return _copy(town_built, tmp_path)


@pytest.fixture
def without(town_without: Square, tmp_path: Path) -> Square:
    """A copy of the square, the victim taken down."""
    return _copy(town_without, tmp_path)


def _copy(square: Square, folder: Path) -> Square:
    shutil.copytree(square.root, folder / "copy")
    return Square.open(folder / "copy")
