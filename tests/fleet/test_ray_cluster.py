"""Curation on a Ray cluster that a launch starts and stops: two hosts, of which both are this machine."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[2])
PROGRAM = """
import os, ray
ray.init(log_to_driver=False)
print("nodes", sum(node["Alive"] for node in ray.nodes()), os.environ["RAY_ADDRESS"].rpartition(":")[0], flush=True)
print("sum", sum(ray.get([ray.remote(lambda n: n * n).remote(n) for n in range(4)])), flush=True)
raise SystemExit(7)
"""


def start(rank: int, size: int, port: int, folder: Path) -> subprocess.Popen[str]:
    told = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | {name: str(value) for name, value in told.items()}
    environment["PYTHONPATH"] = os.pathsep.join((ROOT, str(folder)))
    command = [sys.executable, "-m", "townsquare.fleet.ray_cluster", "program"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_command_runs_on_all_hosts_and_ends_them(tmp_path: Path, hosts: int) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'townsquare[cluster]'")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    port = free_port()
    processes = [start(rank, hosts, port, tmp_path) for rank in range(hosts)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [7, *[0] * (hosts - 1)], said
    assert f"nodes {hosts} 127.0.0.1" in said[0]
    assert "sum 14" in said[0]


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed here")
    process = start(0, 1, free_port(), tmp_path)
    said, _ = process.communicate()
    assert process.returncode == 2
    assert "pip install 'townsquare[cluster]'" in said
    assert "Traceback" not in said
