"""Who judges posts by themselves: this process, others on this machine, or a Ray cluster. What comes out is the same.

Processes, for the detector of languages holds Python's lock. They are workers of our own, fed through pipes: no process
is forked from one with threads, none imports the caller's script, and all end when this one does, however it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from townsquare.curate import alone
from townsquare.curate.config import CurateConfig
from townsquare.errors import ConfigError

PART = 20_000  # posts judged at once: some 20 MB in a worker
FEWEST = 3  # parts from which workers pay for their start, about a second
LENGTH_BYTES = 8


def judge_alone(posts: pl.DataFrame, config: CurateConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """`alone.judge` of all posts, by the runner that the config names. Raises ConfigError when there is no Ray."""
    asked = posts.select(alone.READS)
    parts = [asked.slice(at, PART) for at in range(0, len(asked), PART)]
    if config.runner == "ray":
        return alone.from_answers(list(_by_ray(parts, config)))
    workers = min(len(os.sched_getaffinity(0)), len(parts))
    if len(parts) < FEWEST or workers < 2:
        return alone.judge(asked, config)
    return alone.from_answers(_by_processes(parts, config, workers))


def _by_processes(parts: list[pl.DataFrame], config: CurateConfig, workers: int) -> list[bytes]:
    answers: list[bytes] = [b""] * len(parts)
    waiting = iter(range(len(parts)))  # next() on it is one step under Python's lock
    with ThreadPoolExecutor(workers) as threads:
        for done in [threads.submit(_feed, parts, waiting, answers, config) for _ in range(workers)]:
            done.result()
    return answers


def _feed(parts: list[pl.DataFrame], waiting: Iterator[int], answers: list[bytes], config: CurateConfig) -> None:
    """One worker, from its start to its end: the parts that no other has taken, one by one."""
    import json

    settings = json.dumps(alone.settings_of(config))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", "townsquare.curate.worker", settings]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            for number in waiting:
                send(worker.stdin, alone.to_bytes(parts[number]))
                answers[number] = receive(worker.stdout)
        except (BrokenPipeError, EOFError):
            raise RuntimeError(f"a worker of curation ended with exit code {worker.wait()}") from None
        except BaseException:
            worker.kill()
            raise


def send(pipe: Any, data: bytes) -> None:
    """One message: its length, then it."""
    pipe.write(len(data).to_bytes(LENGTH_BYTES, "big"))
    pipe.write(data)
    pipe.flush()


def receive(pipe: Any) -> bytes:
    """One message. Raises EOFError when there is none, or half of one."""
    data: bytes = pipe.read(LENGTH_BYTES)
    size = int.from_bytes(data, "big")
    if len(data) == LENGTH_BYTES:
        data = pipe.read(size)
        if len(data) == size:
            return data
    raise EOFError


def _by_ray(parts: list[pl.DataFrame], config: CurateConfig) -> Iterable[bytes]:
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "runner cannot be ray: Ray is not installed here", remedy="Install it: pip install 'townsquare[cluster]'"
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)  # the cluster that RAY_ADDRESS names, else one on this machine
    judge = ray.remote(alone.answer)
    settings = alone.settings_of(config)
    answers: list[bytes] = ray.get([judge.remote(alone.to_bytes(part), settings) for part in parts])
    return answers
