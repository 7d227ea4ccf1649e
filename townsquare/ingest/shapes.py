"""JSON values of the shape that a format promises, or empty ones: no input is trusted to keep its promise."""

from __future__ import annotations

from typing import Any

from townsquare.ingest.text import sound


def a_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def a_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts(value: Any) -> list[dict[str, Any]]:
    """A list's objects; one object alone counts as a list of it, and anything else as none."""
    if isinstance(value, dict):
        return [value]
    return [item for item in a_list(value) if isinstance(item, dict)]


def a_text(value: Any) -> str | None:
    """Text that can be stored; an empty one is unknown."""
    return sound(value) or None if isinstance(value, str) else None


def a_flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
