"""SkyPilot, for Kubernetes and clouds: a task file, run as a managed job that SkyPilot brings back when hosts are lost.

SkyPilot is a command of an environment of its own (its pins are not ours); here is only its file format, YAML, of which
JSON's strings are a part. The hosts find the square in a volume or a bucket, and one GPU has one process of torchrun.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from townsquare.errors import ConfigError, TownsquareError
from townsquare.fleet import launches
from townsquare.fleet.attempt import terminate
from townsquare.fleet.hardware import gpu
from townsquare.fleet.launchers.commands import stage_module, torchrun_command
from townsquare.fleet.launches import Launch
from townsquare.square import Square, write_atomically

NAME = "skypilot"
__all__ = ["NAME", "again", "cancel", "shown", "standing", "start", "terminate"]
SQUARE = "/townsquare/square"
PORT = 29500
AGAIN = 75  # sysexits' EX_TEMPFAIL: the attempt ended at a checkpoint, and is to be made again
SPELT = {"A100 SXM 40GB": "A100", "A100 SXM 80GB": "A100-80GB", "A100 PCIe 80GB": "A100-80GB", "GH200 96GB": "GH200"}
"""Kinds whose SkyPilot name is not the first word of ours."""


def task(launch: Launch) -> dict[str, Any]:
    """The task as SkyPilot's YAML schema has it. Raises ConfigError where the square would not be found there."""
    config = launch.config
    if config.store is None:
        raise ConfigError(
            "SkyPilot's hosts would not find the square",
            remedy="Put it in a SkyPilot volume or a bucket, and give --store NAME or --store s3://NAME.",
        )
    resources: dict[str, Any] = {"job_recovery": {"recover_on_exit_codes": [AGAIN]}}
    if launch.at:
        resources["infra"] = launch.at[0]
    if launch.has_gpus:
        if launch.gpu is None:
            raise ConfigError("SkyPilot needs to know which GPUs", remedy="Give --gpu, such as --gpu H100.")
        resources["accelerators"] = {accelerator(launch.gpu): math.ceil(config.gpus / launch.hosts)}
    bucket = "://" in config.store
    return {
        "name": f"townsquare-{launch.run}",
        "num_nodes": launch.hosts,
        "resources": resources,
        **({"file_mounts": {SQUARE: {"source": config.store, "mode": "MOUNT"}}} if bucket else {}),
        **({} if bucket else {"volumes": {SQUARE: config.store}}),
        **({"setup": config.setup} if config.setup else {}),
        "run": _script(launch),
    }


def accelerator(kind: str) -> str:
    """SkyPilot's name of a GPU kind. Raises ConfigError for a kind that hardware.csv does not have."""
    name = gpu(kind).name
    return SPELT.get(name) or (name.replace(" ", "") if name.startswith("RTX") else name.split()[0])


def _script(launch: Launch) -> str:
    """What every host runs: torchrun, on the first as the launch's attempt."""
    rendezvous = ["--nnodes=$SKYPILOT_NUM_NODES", "--node-rank=$SKYPILOT_NODE_RANK", "--master-addr=$first"]
    stage = torchrun_command(launch, stage_module(SQUARE, launch), [*rendezvous, f"--master-port={PORT}"], "python3")
    line = " ".join(word if "$" in word else shlex.quote(word) for word in stage)
    attempt = shlex.join(["python3", "-m", "townsquare.fleet.launchers", SQUARE, launch.run, "--"])
    return "\n".join(
        [
            'first="$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"',
            f'if [ "$SKYPILOT_NODE_RANK" = 0 ]; then exec {attempt} {line}; fi',
            f"{line} || exit {AGAIN}",
            "",
        ]
    )


def yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Lines of a mapping in YAML: text of several lines as a block, all else as JSON."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield f"{indent}{json.dumps(key)}:"
            yield from yaml(item, indent + "  ")
        elif isinstance(item, str) and item.endswith("\n"):
            yield f"{indent}{json.dumps(key)}: |"
            yield from (f"{indent}  {line}" for line in item.splitlines())
        else:
            yield f"{indent}{json.dumps(key)}: {json.dumps(item)}"


def start(square: Square, launch: Launch) -> Launch:
    """Hand the task to SkyPilot; where its command is not here, show how. Raises ConfigError, TownsquareError."""
    path = launches.folder_of(square, launch.run) / "task.yaml"
    write_atomically(path, shown(square, launch).encode())
    command = ["sky", "jobs", "launch", "--yes", "--detach-run", "--name", f"townsquare-{launch.run}", str(path)]
    if shutil.which("sky") is None:
        print(f"SkyPilot is not on this machine's path. Where it is, run:\n{shlex.join(command)}", flush=True)
        why = "its task file is to be handed to SkyPilot"
        return launches.write(square, dataclasses.replace(launch, state="waiting", why=why))
    launches.write(square, dataclasses.replace(launch, state="queued", job=f"townsquare-{launch.run}"))
    _sky(*command)
    return launches.read(square, launch.run)


def again(_launch: Launch) -> int | None:
    """SkyPilot starts a job anew that ends with this exit code."""
    return AGAIN


def standing(launch: Launch) -> str | None:
    """SkyPilot's word for the newest job of that name."""
    if launch.job is None or shutil.which("sky") is None:
        return None
    jobs = json.loads(_sky("sky", "jobs", "queue", "--output", "json") or "[]")
    mine = [str(job["status"]) for job in jobs if job.get("job_name") == launch.job]
    return mine[0] if mine else None


def cancel(launch: Launch) -> bool:
    """Have SkyPilot end the job; whether it is over at once."""
    _sky("sky", "jobs", "cancel", "--yes", "--name", str(launch.job))
    return True


def shown(_square: Square, launch: Launch) -> str:
    """The task file."""
    return "\n".join([*yaml(task(launch)), ""])


def _sky(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TownsquareError(
            f"SkyPilot refused: {(done.stderr or done.stdout).strip()}",
            remedy="Mend what it says, and run the same command again.",
        )
    return done.stdout
