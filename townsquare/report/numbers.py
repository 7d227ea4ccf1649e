"""Numbers as people read them. None is unknown, and is never shown as zero."""

from __future__ import annotations

from typing import Any

UNKNOWN = "unknown"
THIN = "\u202f"  # narrow no-break space, between a number and its unit


def count(value: int | float | None) -> str:
    """12,345."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """In the largest units that fit: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 12 days."""
    if value is None:
        return UNKNOWN
    if value < 0.05:
        return f"under 0.1{THIN}s"
    if value < 9.95:
        return f"{value:.1f}{THIN}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}{THIN}h {whole % 3600 // 60}{THIN}min"
    return f"{value / 86400:,.1f} days"


def size(value: float | None) -> str:
    """Bytes, in the decimal units that disks are sold in."""
    if value is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f}{THIN}{unit}" if value >= 10 or unit == "B" else f"{value:.1f}{THIN}{unit}"
        value /= 1000
    return f"{value:,.1f}{THIN}TB"


def share(value: float | None) -> str:
    """0.843 -> 84.3 %; whole numbers without a point."""
    if value is None:
        return UNKNOWN
    text = f"{100 * value:.1f}"
    return f"{text.removesuffix('.0')}{THIN}%"


def moment(value: str | None) -> str:
    """An ISO 8601 time in UTC, to the second: 2026-11-25 15:00:01 UTC."""
    return UNKNOWN if value is None else f"{value[:10]} {value[11:19]} UTC"


def figure(value: Any) -> str:
    """Any value of a receipt: large numbers grouped or in words, small ones with three digits that tell."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    for limit, unit in ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= limit:
            return f"{value / limit:,.3g}{THIN}{unit}"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
