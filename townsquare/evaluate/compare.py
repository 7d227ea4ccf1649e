"""The comparison of two evaluated models, case by case on what both were asked."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from townsquare import receipts
from townsquare.errors import InputError, StaleError
from townsquare.evaluate import cases
from townsquare.evaluate.config import CompareConfig, name_of
from townsquare.evaluate.paired import difference, mcnemar
from townsquare.receipts import Receipt
from townsquare.square import Square

Sides = dict[str, tuple[float, float]]
"""Case -> what it adds above and below the line."""


def run(square: Square, config: CompareConfig) -> Receipt:
    """Pair every score that both have. Raises StaleError when one was not evaluated or they were asked nothing in
    common, or of other posts; InputError when a file of cases is gone or broken."""
    one, other = (receipts.need(square, "evaluate", name_of(model)) for model in (config.model, config.other))
    _of_the_same_posts(one, other)
    name = f"{one.name}-and-{other.name}"
    inputs = [receipts.as_input(one), receipts.as_input(other)]
    with receipts.stage(square, "compare", inputs=inputs, config=config, name=name) as work:
        if work.done:
            return work.done
        ours, theirs = _cases(square, one), _cases(square, other)
        pairs = {key: _pair(ours[key], theirs[key], config.seed) for key in ours if key in theirs}
        found = {key: pair for key, pair in pairs.items() if pair}
        if not found:
            raise StaleError(
                "the two models have no case in common", remedy="Evaluate both with the same --questions and --seed."
            )
        work.count(seen=len(ours.keys() | theirs.keys()), kept=len(found))
        work.results.update(
            models=[one.name, other.name],
            pairs=[{"task": task, "metric": m} | pair for (task, m), pair in found.items()],
        )
    return work.receipt


def _of_the_same_posts(one: Receipt, other: Receipt) -> None:
    mine, theirs = ({item.name: item.sha256 for item in receipt.inputs} for receipt in (one, other))
    for name in mine.keys() & theirs.keys():
        if mine[name] != theirs[name]:
            raise StaleError(
                f"{one.name} and {other.name} were scored against another `{name}` each",
                remedy="Evaluate both anew, with --replace.",
            )


def _cases(square: Square, receipt: Receipt) -> dict[tuple[str, str], Sides]:
    path = cases.path(square, receipt.name or "")
    try:
        table = pq.read_table(path, schema=cases.SCHEMA)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the cases cannot be read: {error}",
            place=str(path),
            remedy=f"Run: townsquare evaluate {receipt.name} --replace",
        ) from error
    found: dict[tuple[str, str], Sides] = {}
    for row in table.to_pylist():
        found.setdefault((row["task"], row["metric"]), {})[row["case"]] = (row["part"], row["whole"])
    return found


def _pair(ours: Sides, theirs: Sides, seed: int) -> dict[str, Any] | None:
    """Both scores on the cases in common, the difference with its interval and, for right and wrong, McNemar's p."""
    common = sorted(ours.keys() & theirs.keys())
    mine, others = [ours[case] for case in common], [theirs[case] for case in common]
    if not sum(whole for _, whole in mine) or not sum(whole for _, whole in others):
        return None
    one, other = tuple(zip(*mine, strict=True)), tuple(zip(*others, strict=True))
    apart, low, high = difference(one, other, seed)  # type: ignore[arg-type]
    score, against = (sum(parts) / sum(wholes) for parts, wholes in (one, other))
    found = {"score": score, "other": against, "difference": apart, "difference_low": low, "difference_high": high}
    found |= {"n": len(common), "test": "paired bootstrap"}
    if {part for part, _ in mine + others} <= {0.0, 1.0} and {whole for _, whole in mine + others} == {1.0}:
        only_one = sum(a > b for a, b in zip(one[0], other[0], strict=True))
        only_other = sum(a < b for a, b in zip(one[0], other[0], strict=True))
        p = mcnemar(only_one, only_other)
        found |= {"test": "McNemar, exact", "only_this": only_one, "only_other": only_other, "p": p}
    return found
