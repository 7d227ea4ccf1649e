"""What tests share: a fresh square, and the real inputs where a checkout has them beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from townsquare.square import Square

settings.register_profile("townsquare", deadline=None)  # no test asserts on time
settings.load_profile("townsquare")

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def square(tmp_path: Path) -> Square:
    """An empty square in a temporary folder."""
    return Square.create(tmp_path / "square")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs, never part of the project. Skips where they are absent."""
    folder = Path(os.environ.get("TOWNSQUARE_SHARED_DATA", BESIDE))
    if not folder.is_dir():
        pytest.skip(f"real inputs are not at {folder}; set TOWNSQUARE_SHARED_DATA to use a copy")
    return folder
