"""Published training runs: one row of a CSV to a shape, a batch, a layout, a GPU kind and what was measured."""

from __future__ import annotations

import csv
import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from townsquare.errors import ConfigError, InputError
from townsquare.fleet.hardware import Gpu, gpu
from townsquare.fleet.layout import Kernels, Layout, NumberType, Recompute, Sharding
from townsquare.fleet.memory import memory
from townsquare.fleet.shape import Shape

WORDS = ("name", "gated", "source")  # columns of published.csv that are no counts
PUBLISHED = Path(__file__).with_name("published.csv")
NEEDED = ("id", "group", "model", "gpu", "layers", "hidden", "seq_len", "global_batch_seqs", "num_gpus", "tp", "pp")
OVERLAPPED_FROM = "2026-05"
FUSED = ("nemo", "megatron", "nvidia", "ngc", "primus", "mlperf", "pytorch")
FLASH_FROM = "2022-10"  # flash attention came in May 2022 (arXiv 2205.14135) and into trainers that autumn


DOUBT = 1.4  # times a GPU's memory, beyond which an estimate that a run should not have fitted is to be believed


class Unusable(Exception):
    """Why a row cannot be compared; the text is the reason that is counted."""


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """A row that can be compared. Either measurement may be absent, not both."""

    name: str
    group: str
    shape: Shape
    layout: Layout
    gpu: Gpu
    sequence_length: int
    sequences_per_step: int
    step_seconds: float | None
    memory_gib: float | None
    tensors_only: bool
    """The measurement is PyTorch's of its tensors, without context and allocator."""
    out_of_memory: bool


def read_runs(path: Path) -> tuple[list[MeasuredRun], dict[str, int]]:
    """Every row that can be compared, and the rest counted by reason. Raises InputError when it is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the runs cannot be read: {error}", place=str(path), remedy="Mend the path.") from None
    absent = [name for name in NEEDED if rows and name not in rows[0] and name != "id"]
    if not rows or absent:
        raise InputError(
            "it has no rows" if not rows else "it lacks the columns " + ", ".join(absent),
            place=str(path),
            remedy="Columns are: " + ", ".join(NEEDED) + ", and step_time_s or mem_gib_per_gpu.",
        )
    runs: list[MeasuredRun] = []
    skipped: dict[str, int] = {}
    for row in rows:
        try:
            runs.append(measured_run(row))
        except Unusable as reason:
            skipped[str(reason)] = skipped.get(str(reason), 0) + 1
    return runs, skipped


def measured_run(row: Mapping[str, str]) -> MeasuredRun:
    """One row. Raises Unusable."""
    shape = _shape(row)
    kind = _gpu(row)
    if "bnb" in row.get("precision", ""):
        raise Unusable("weights are quantised")
    alone = row.get("num_gpus") == "1" or row.get("dp_strategy") == "FSDP"  # then there is nothing to divide among
    for column in ("seq_len", "num_gpus", *(() if alone else ("tp", "pp"))):
        if not row.get(column):
            raise Unusable(f"{column} not stated")
    layout = _layout(row, shape)
    length = int(row["seq_len"])
    sequences = _integer(row, "global_batch_seqs", 0)
    step = _number(row, "step_time_s")
    measured_gib = _number(row, "mem_gib_per_gpu") or _number(row, "mem_gib")
    if measured_gib is not None and row.get("mem_kind", "").endswith(" GB"):
        measured_gib *= 1e9 / 2**30
    oom = row.get("oom") == "yes"
    if step is not None and not row.get("recompute") and not oom:
        layout = _least_recompute(shape, layout, kind, length, sequences or layout.data)
    if step is not None and sequences and not row.get("micro_batch") and layout.pipeline == 1:
        layout = _most_at_once(shape, layout, kind, length, sequences)
    if not sequences:
        if measured_gib is None and not oom:
            raise Unusable("global_batch_seqs not stated")
        sequences = layout.data * layout.micro_batch * 4 * layout.pipeline
    if layout.number_type not in kind.peak_tflops:
        raise Unusable("no such number type on that GPU kind")
    if sequences < layout.data:
        raise Unusable("batch smaller than the replicas")
    if step is None and measured_gib is None and not oom:
        raise Unusable("neither step time nor memory stated")
    return MeasuredRun(
        name=row.get("id") or f"{row['group']} {row['model']}",
        group=row["group"],
        shape=shape,
        layout=layout,
        gpu=kind,
        sequence_length=length,
        sequences_per_step=sequences,
        step_seconds=step,
        memory_gib=measured_gib,
        tensors_only="max" in row.get("mem_kind", ""),
        out_of_memory=oom,
    )


def _least_recompute(shape: Shape, layout: Layout, kind: Gpu, length: int, sequences: int) -> Layout:
    """Where a row does not say what is recomputed: nothing, or what makes it fit, for it did run.

    Mixtures recompute a few cheap parts, and a GPU that is joined to its host's memory sends activations there.
    """
    if shape.experts or kind.name.startswith("G"):
        return layout
    full = dataclasses.replace(layout, recompute="full")
    return full if memory(shape, layout, length, sequences).total_gb > DOUBT * kind.memory_gb else layout


def _most_at_once(shape: Shape, layout: Layout, kind: Gpu, length: int, sequences: int) -> Layout:
    """Where a row does not say how many sequences pass at once: as many as fit, for that is the fastest."""
    each = max(sequences // layout.data, 1)
    larger = [dataclasses.replace(layout, micro_batch=n) for n in (16, 8, 4, 2) if each % n == 0]
    need = ((one, memory(shape, one, length, sequences).total_gb) for one in larger)
    return next((one for one, total_gb in need if total_gb <= kind.memory_gb), layout)


def _integer(row: Mapping[str, str], column: str, default: int) -> int:
    text = row.get(column) or ""
    try:
        return int(float(text)) if text else default
    except ValueError:
        raise Unusable(f"{column} is no number") from None


def _number(row: Mapping[str, str], column: str) -> float | None:
    try:
        return float(row[column]) if row.get(column) else None
    except ValueError:
        return None


def _gpu(row: Mapping[str, str]) -> Gpu:
    try:
        kind = gpu(row["gpu"])
    except ConfigError:
        raise Unusable("GPU kind unknown") from None
    ports = re.search(r"(\d+)x(\d+)\s?Gb", row.get("software", "") + " " + row.get("notes", ""))
    if ports is None or kind.gpus_per_node == 1:
        return kind
    return dataclasses.replace(kind, network_gb_s=int(ports[1]) * int(ports[2]) / 8 / kind.gpus_per_node)


def _shape(row: Mapping[str, str]) -> Shape:
    known = published().get(_plain(row["model"]))
    if known is not None:
        return dataclasses.replace(known, layers=_integer(row, "layers", known.layers))
    for column in ("layers", "hidden", "ffn_hidden"):
        if not row.get(column):
            raise Unusable("shape not stated")
    hidden = _integer(row, "hidden", 0)
    heads = _integer(row, "heads", hidden // 128)
    shape = Shape(
        layers=_integer(row, "layers", 0),
        hidden=hidden,
        heads=heads,
        kv_heads=_integer(row, "kv_heads", heads),
        head_dim=max(hidden // heads, 1),
        vocabulary=_integer(row, "vocab", 50_000),
        mlp_width=_integer(row, "ffn_hidden", 0),
    )
    experts, parameters = _integer(row, "n_experts", 0), _number(row, "params_b")
    if experts:
        return _mixture(row, shape, experts)
    # Rows do not say whether blocks are gated or embeddings tied: what comes nearest to the printed size is.
    forms = [dataclasses.replace(shape, gated=g, tied=t) for g in (True, False) for t in (True, False)]
    if not parameters:
        return next(s for s in forms if s.gated == (shape.mlp_width % hidden != 0) and not s.tied)
    return min(forms, key=lambda s: (abs(round(s.parameters / 1e9 / parameters, 2) - 1), s.tied))


def _mixture(row: Mapping[str, str], shape: Shape, experts: int) -> Shape:
    """The experts' width where rows print another one: from parameters in all and active ones."""
    chosen = _integer(row, "topk", 1)
    width = shape.mlp_width
    total, active = _number(row, "params_b"), _number(row, "active_params_b")
    if total and active and experts > chosen:
        width = round((total - active) * 1e9 / (shape.layers * (experts - chosen) * 3 * shape.hidden))
    mixture = dataclasses.replace(shape, experts=experts, experts_per_token=chosen, expert_width=width)
    if total and not 0.7 < mixture.parameters / 1e9 / total < 1.4:
        raise Unusable("shape of the experts not stated")
    return mixture


def _layout(row: Mapping[str, str], shape: Shape) -> Layout:
    gpus, tensor, stages = _integer(row, "num_gpus", 1), _integer(row, "tp", 1), _integer(row, "pp", 1)
    context = _integer(row, "cp", 1)
    data = max(gpus // (tensor * stages * context), 1)
    expert = _integer(row, "ep", 1) if shape.experts else 1
    try:
        return Layout(
            data=data,
            tensor=tensor,
            pipeline=stages,
            interleave=_integer(row, "vpp", 1),
            context=context,
            expert=min(expert, data * context * tensor),
            sharding=sharding(row.get("dp_strategy", "")),
            micro_batch=_integer(row, "micro_batch", 1),
            recompute=recompute(row),
            number_type=number_type(row.get("precision", "")),
            kernels=kernels(row),
            splits_sequence=kernels(row) not in ("unfused", "tuned") or "SP" in row.get("recompute", ""),
            trains="adapters" if row.get("task", "").startswith(("lora", "adapter")) else "all",
        )
    except ConfigError:
        raise Unusable("layout is not possible") from None


def sharding(text: str) -> Sharding:
    """What a row's `dp_strategy` divides among replicas; Megatron's and NeMo's default where it is empty."""
    lower = text.lower()
    if ("fsdp" in lower and "fsdp=0" not in lower) or "zero-3" in lower or "zero3" in lower:
        return "full"
    if (lower.startswith("ddp") and "optimizer" not in lower) or "zero-0" in lower:
        return "none"
    return "optimizer"


def recompute(row: Mapping[str, str]) -> Recompute:
    """A row's `recompute`. Beside a flash kernel, selective is torchtitan's: every second product or layer."""
    text = row.get("recompute", "")
    if text.startswith("full"):
        return "full"
    if not text.startswith("selective") or "layernorm" in text:
        return "none"
    return "selective" if kernels(row) in ("unfused", "tuned") else "half"


def kernels(row: Mapping[str, str]) -> Kernels:
    """The generation of a row's software, by its date and name; without a date, fp16 tells old software."""
    date = row.get("date") or ("2022" if "fp16" in row.get("precision", "") else FLASH_FROM)
    if date < FLASH_FROM:
        theirs = row.get("software", "").startswith("Megatron-LM") and "DeepSpeed" not in row.get("dp_strategy", "")
        return "tuned" if theirs else "unfused"
    software = row.get("software", "").lower()
    if not any(name in software for name in FUSED):
        return "flash"
    return "overlapped" if row.get("date", "") >= OVERLAPPED_FROM else "fused"


def number_type(text: str) -> NumberType:
    """The layers' number type. Raises Unusable where it is not stated: it decides over a factor of two."""
    lower = text.lower()
    if not lower or "not determined" in lower:
        raise Unusable("number type not stated")
    return "fp8" if "fp8" in lower else "fp4" if "fp4" in lower else "bf16"


@functools.cache
def published() -> dict[str, Shape]:
    """Shapes whose widths rows do not print, by plain name."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        counts: dict[str, Any] = {key: int(value) for key, value in row.items() if key not in WORDS and value}
        found[_plain(row["name"])] = Shape(**counts, gated=row["gated"] == "yes")
    return found


def _plain(name: str) -> str:
    """Spelling without what stands in brackets, a size after Grok-1, and punctuation."""
    bare = re.sub(r"\(.*?\)", "", name.lower()).replace(" 314b", "").replace(" 671b", "").replace(" 400b", "")
    return re.sub(r"[^a-z0-9]", "", bare.replace("proxy", ""))
