"""A Ray cluster for as long as one command runs: `python -m townsquare.fleet.ray_cluster MODULE ARGUMENTS`.

Launchers start this once a host, with the rank and the first host's address in the environment, as torchrun gives them.
The first host runs Ray's head and then the command; the others join, and leave when the first one's connection closes,
however it ends. Ray's processes are children in the foreground, so that no other Ray on the host is touched.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from townsquare.errors import ConfigError, TownsquareError

PATIENCE_SECONDS = 300.0  # for the other hosts' processes to begin
ENOUGH_SECONDS = 20.0  # for Ray to end


def main(module: str, arguments: list[str]) -> int:
    """Run a module on the cluster (first host), or be part of it (the others); the exit code."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "0"))
    if rank == 0:
        return _lead(module, arguments, size - 1, port)
    _follow(address, port)
    return 0


def _lead(module: str, arguments: list[str], followers: int, port: int) -> int:
    """Ray's head; the others when all have connected; then the command, to its end."""
    with ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("", port), reuse_port=True))
        door.settimeout(PATIENCE_SECONDS)
        lines = [stack.enter_context(door.accept()[0]) for _ in range(followers)]
        ray_port = _free_port()
        here = lines[0].getsockname()[0] if lines else "127.0.0.1"
        stack.enter_context(_ray("--head", f"--port={ray_port}", f"--node-ip-address={here}"))
        for line in lines:
            line.sendall(ray_port.to_bytes(4, "big"))
        for line in lines:
            line.recv(1)  # it has joined
        os.environ["RAY_ADDRESS"] = f"{here}:{ray_port}"
        sys.argv = [module, *arguments]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _follow(address: str, port: int) -> None:
    """A part of the cluster, until the first host's process is gone."""
    with socket.create_connection((address, port), timeout=PATIENCE_SECONDS) as line:
        line.settimeout(None)
        ray_port = int.from_bytes(line.recv(4, socket.MSG_WAITALL), "big")
        with _ray(f"--address={line.getpeername()[0]}:{ray_port}", f"--node-ip-address={line.getsockname()[0]}"):
            line.sendall(b"1")
            with suppress(ConnectionError):
                line.recv(1)


@contextmanager
def _ray(*options: str) -> Iterator[None]:
    """`ray start` until the block ends; when it is entered, Ray answers. Raises ConfigError where there is no Ray."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--block", "--disable-usage-stats"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as ray:
        assert ray.stdout is not None
        try:
            said = []
            for line in ray.stdout:
                said.append(line)
                if "Ray runtime started" in line:
                    break
            else:
                raise ConfigError(f"Ray did not start: {''.join(said[-3:]).strip()}", remedy=INSTALL)
            yield
        finally:
            os.killpg(ray.pid, signal.SIGTERM)
            try:
                ray.wait(ENOUGH_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(ray.pid, signal.SIGKILL)


INSTALL = "Install it on every host: pip install 'townsquare[cluster]'"


def _free_port() -> int:
    with socket.create_server(("", 0)) as found:
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except TownsquareError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
