"""What launchers write and show: Slurm's batch file, SkyPilot's task file, torchrun's commands; where leases lead."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from townsquare.cli import app
from townsquare.errors import ConfigError
from townsquare.fleet.book import read_book
from townsquare.fleet.config import AskConfig, LaunchConfig
from townsquare.fleet.launchers import skypilot, slurm, torchrun
from townsquare.fleet.launches import Launch, option_of
from townsquare.fleet.leases import ask
from townsquare.fleet.meter import LeaseError
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.square import Square

WORDS = ("train", "--name", "big", "--size", "1B")


def made(on: str, at: tuple[str, ...], words: tuple[str, ...] = WORDS, **settings: Any) -> Launch:
    config = LaunchConfig(**{"on": on, "at": at, "gpus": 16, "gpus_per_host": 8, "gpu": "H100"} | settings)
    return Launch("big", words, config, on, at, config.gpu, config.gpus_per_host)


def call(square: Square, *words: str) -> Result:
    return CliRunner().invoke(app, ["fleet", "launch", "--square", str(square.root), *words])


def sbatch_options(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_the_batch_file_asks_for_what_the_run_needs(square: Square) -> None:
    text = slurm.batch_file(square, made("slurm", ("gpu",), hours=1.51, grace_seconds=300))
    assert sbatch_options(text) == {
        "job-name": "townsquare-big",
        "partition": "gpu",
        "nodes": "2",
        "ntasks-per-node": "8",
        "gpus-per-node": "8",
        "time": "91",
        "signal": "B:TERM@300",
        "open-mode": "append",
        "requeue": "",
        "output": f"{square.launches / 'big' / 'slurm-%j.out'}",
    }
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=True).returncode == 0


def test_processors_are_no_gpus_and_curation_has_one_process_a_host(square: Square) -> None:
    text = slurm.batch_file(square, made("slurm", ("cpu",), ("curate", "--runner", "ray"), gpu="CPU"))
    options = sbatch_options(text)
    assert "gpus-per-node" not in options
    assert (options["nodes"], options["ntasks-per-node"]) == ("2", "1")
    assert "-m townsquare.fleet.ray_cluster townsquare.cli curate --runner ray" in text


def test_each_host_has_its_command(square: Square) -> None:
    lines = torchrun.shown(square, made("torchrun", ("one", "two"), gpus_per_host=None)).splitlines()
    assert lines[::2] == ["# on one", "# on two"]
    for rank, line in enumerate(lines[1::2]):
        words = shlex.split(line)
        assert {f"--node-rank={rank}", "--nnodes=2", "--nproc-per-node=8", "--master-addr=one"} <= set(words)
        assert words[-7:-2] == ["townsquare.cli", *WORDS][-5:]
    assert "townsquare.fleet.launchers" in lines[1], "the first keeps the record"
    assert "townsquare.fleet.launchers" not in lines[3]


def test_gpus_that_do_not_fill_the_hosts_evenly_are_refused(square: Square) -> None:
    with pytest.raises(ConfigError, match="16 GPUs cannot be spread evenly over 3 hosts"):
        torchrun.shown(square, made("torchrun", ("a", "b", "c")))


@pytest.mark.parametrize("store", ["squares", "s3://squares"])
def test_the_task_file_says_to_another_reader_what_was_meant(square: Square, store: str) -> None:
    launch = made("skypilot", ("k8s",), store=store, setup='pip install "townsquare"\nnvidia-smi\n')
    found = yaml.safe_load(skypilot.shown(square, launch))
    assert found == skypilot.task(launch)
    assert found["resources"]["accelerators"] == {"H100": 8}
    assert found["num_nodes"] == 2
    assert subprocess.run(["bash", "-n"], input=found["run"], text=True, check=True).returncode == 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [("A100", "A100-80GB"), ("A100 SXM 40GB", "A100"), ("h100-sxm5-80gb", "H100"), ("RTX 4090", "RTX4090")],
)
def test_gpu_kinds_have_the_names_that_skypilot_gives_them(kind: str, name: str) -> None:
    assert skypilot.accelerator(kind) == name


READ_BY_SKYPILOT = """
import sys, sky
task = sky.Task.from_yaml(sys.argv[1])
[resources] = task.resources
print(task.name, task.num_nodes, sorted(resources.accelerators.items()), resources.job_recovery)
"""


def test_skypilot_reads_the_task_file(square: Square, tmp_path: Path) -> None:
    command = shutil.which("sky")
    if command is None:
        pytest.skip("SkyPilot is not on the path: make it an environment of its own, and put its bin folder there")
    (tmp_path / "task.yaml").write_text(skypilot.shown(square, made("skypilot", ("k8s",), store="s3://squares")))
    python = Path(command).with_name("python")
    words = [python, "-c", READ_BY_SKYPILOT, tmp_path / "task.yaml"]
    said = subprocess.run(words, check=False, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "townsquare-big 2 [('H100', 8)]" in said.stdout
    assert "75" in said.stdout


def test_without_a_store_the_hosts_would_not_find_the_square(square: Square) -> None:
    with pytest.raises(ConfigError, match="would not find the square"):
        skypilot.shown(square, made("skypilot", ()))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--on", "slurm", "--", *WORDS], "needs to know where"),
        (["--lease", "any", "--on", "here", "--", *WORDS], "says itself where its GPUs are"),
        (["--", "serve"], "serve cannot be launched"),
        (["--", "train", "--lease", "any"], "--lease belongs to the launch"),
        (["--gpus", "0", "--", "train"], "gpus cannot be 0"),
    ],
)
def test_what_cannot_be_launched_is_refused(square: Square, words: list[str], why: str) -> None:
    done = call(square, *words)
    assert done.exit_code == 2
    assert why in " ".join(done.stderr.split())


def test_slurm_that_is_not_here_is_named(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    done = call(square, "--on", "slurm", "--at", "gpu", "--", *WORDS)
    assert done.exit_code == 2
    assert "sbatch is not on this machine" in done.stderr
    assert (square.launches / "big" / "job.sbatch").is_file()


def test_an_option_is_found_however_it_is_typed() -> None:
    assert option_of(("train", "--name", "a"), "--name") == "a"
    assert option_of(("train", "--name=b"), "--name") == "b"
    assert option_of(("train", "--name"), "--size") is None


def test_runs_get_whole_hosts_that_no_other_has(square: Square) -> None:
    add(square, Pool("north", "North Works", "H100", 24, "torchrun", ("n1", "n2", "n3"), 8))
    today = dt.datetime.now(dt.UTC).date().isoformat()
    add(square, Lease("l", "north", 24, today, today))
    assert ask(square, AskConfig("one", gpus=12)).at == ("n1", "n2")
    other = ask(square, AskConfig("two", gpus=4))
    assert (other.on, other.at, other.gpus_per_host) == ("torchrun", ("n3",), 8)
    with pytest.raises(LeaseError, match="too few of its pool's hosts are free"):
        ask(square, AskConfig("three", gpus=4))
    assert {held.run: held.at for held in read_book(square).allocations.values()} == {
        "one": ("n1", "n2"),
        "two": ("n3",),
    }


def test_a_pool_says_where_it_is(square: Square) -> None:
    with pytest.raises(ConfigError, match="does not say where"):
        Pool("p", "L", "CPU", 2, "slurm")
    pool = Pool("p", "L", "CPU", 2, "slurm", ("night",), 2)
    add(square, pool)
    assert read_book(square).pools["p"] == pool
    assert dataclasses.asdict(pool)["at"] == ("night",)
