"""Training runs beside one another: their figures as they stand, how two differ, and their curves in one drawing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from townsquare import receipts
from townsquare.errors import InputError
from townsquare.receipts import Receipt
from townsquare.square import Square, write_atomically

RECENT_STEPS = 20
FIGURES = (
    "documents", "epochs", "tokens", "parameters", "trained_parameters", "final_loss", "validation_bits_per_byte",
    "validation_preferred_share", "skipped_steps", "rollbacks", "tokens_per_step", "processes", "layout",
    "number_type", "device", "median_utilisation", "median_tokens_per_second", "step_seconds",
)  # fmt: skip


def listed(square: Square) -> list[dict[str, Any]]:
    """One record a run, by when it was begun; of a run that has not ended, what its step log says so far."""
    folders = [path.parent for path in square.runs.glob("*/steps.jsonl")]
    return [_record(square, folder) for folder in sorted(folders, key=lambda folder: (_begun(folder), folder.name))]


def _begun(folder: Path) -> float:
    setup = folder / "setup.json"
    return setup.stat().st_mtime if setup.is_file() else 0.0


def _record(square: Square, folder: Path) -> dict[str, Any]:
    done, steps = _receipt(square, folder), read_steps(folder)
    recent = steps[-RECENT_STEPS:]
    settings: dict[str, Any] = done.config if done else {}
    return {
        "name": folder.name,
        "ended": done is not None,
        "objective": settings.get("objective"),
        "start_from": settings.get("start_from") or settings.get("base"),
        "steps": steps[-1]["step"] if steps else 0,
        "loss": statistics.fmean(step["loss"] for step in recent) if recent else None,
        "bits_per_byte": done.results["validation_bits_per_byte"] if done else None,
        "tokens_per_second": statistics.median(step["tokens_per_second"] for step in steps) if steps else None,
        "utilisation": statistics.median(step["utilisation"] for step in steps) if steps else None,
        "step_hours": sum(step["seconds"] for step in steps) / 3600,
    }


def _receipt(square: Square, folder: Path) -> Receipt | None:
    """The run's receipt, unless the run has been begun anew since."""
    found = receipts.read(square, "train", folder.name)
    if found is None or not (folder / "setup.json").is_file():
        return found
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    return found if setup["fingerprint"] == found.fingerprint else None


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """The step log; a last line that was cut off while it was written is left out."""
    path = folder / "steps.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def compared(square: Square, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each setting and figure in which the runs differ, each run's value. Raises InputError for an unknown run."""
    found = {name: _all_of(square, name) for name in names}
    keys = dict.fromkeys(key for record in found.values() for key in record)
    rows = {key: {name: record.get(key) for name, record in found.items()} for key in keys}
    return {key: row for key, row in rows.items() if len({json.dumps(value) for value in row.values()}) > 1}


def _all_of(square: Square, name: str) -> dict[str, Any]:
    folder = _folder(square, name)
    done = _receipt(square, folder)
    if done is None:
        record = _record(square, folder)
        return {key: record[key] for key in ("ended", "steps", "loss", "tokens_per_second", "utilisation")}
    settings = {key: value for key, value in done.config.items() if key != "name"}
    figures = {key: done.results[key] for key in FIGURES if key in done.results}
    return settings | {"steps": done.results["steps"], "learning_rate": done.results["learning_rate"]} | figures


def _folder(square: Square, name: str) -> Path:
    folder = square.runs / name
    if not (folder / "steps.jsonl").is_file():
        known = ", ".join(record["name"] for record in listed(square)) or "none"
        raise InputError(f"there is no run {name}", place=str(square.runs), remedy=f"Runs here: {known}")
    return folder


def plot(square: Square, names: Sequence[str], path: Path) -> None:
    """Draw loss over tokens, a line a run, into a file of the kind that its ending names, such as .svg or .png.

    Raises InputError for an unknown run or kind of file.
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="tokens", ylabel="loss")
    for name in names:
        steps, tokens, xs = read_steps(_folder(square, name)), 0, []
        for step in steps:
            tokens += step["tokens"]
            xs.append(tokens)
        axes.plot(xs, [step["loss"] for step in steps], label=name, linewidth=1.2)
    axes.legend(frameon=False)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in canvas.get_supported_filetypes():
        raise InputError(f"a drawing cannot be written as {path.name}", remedy="Name it .svg, .png or .pdf.")
    sink = io.BytesIO()
    figure.savefig(sink, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, sink.getvalue())
