"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from townsquare.ingest.sources import SOURCES
from townsquare.ingest.sources.__main__ import HEADINGS, page

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ROOT / "docs" / "formats.md"


def test_the_page_of_formats_is_current() -> None:
    command = [sys.executable, "-m", "townsquare.ingest.sources"]
    written = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    assert FORMATS.read_text(encoding="utf-8") == written, "run: python -m townsquare.ingest.sources > docs/formats.md"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.NAME)
def test_a_format_says_what_is_read_never_read_and_quarantined(source: object) -> None:
    spoken = {kind for kind, _ in source.TABLE}  # type: ignore[attr-defined]
    assert spoken <= HEADINGS.keys()
    assert spoken & {"reads", "reads for events only"}
    assert {"never reads", "quarantines"} <= spoken


def test_every_line_of_every_table_stands_in_the_page_once() -> None:
    plain = page().replace("`", "")
    for source in SOURCES:
        section = plain.split(f"\n## {source.NAME}\n")[1].split("\n## ")[0]
        for _, text in source.TABLE:
            assert section.count(f"- {text}\n") == 1
        assert f"](#{source.NAME})" in plain


def test_code_type_is_closed_on_every_line() -> None:
    for line in page().splitlines():
        assert line.count("`") % 2 == 0
        assert not re.search(r"`{2,}", line)
