"""A Slurm of the tests' own, from Debian's packages: key, daemons, one node, two partitions, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PATIENCE_SECONDS = 90.0

SETTINGS = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={port_of_node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=day Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=night Nodes=ALL MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here, or None."""
    if os.getuid():
        return "Slurm's daemons start jobs as root only"
    absent = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return f"{', '.join(absent)} not here: apt-get install slurm-wlm munge" if absent else None


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait for something. Raises TimeoutError."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > ends:
            raise TimeoutError(what)
        time.sleep(0.05)


def told(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def cluster() -> Iterator[Path]:
    """A Slurm at work, SLURM_CONF naming it; its folder. Everything is gone afterwards."""
    folder, host = Path(tempfile.mkdtemp(prefix="slurm-")), socket.gethostname().partition(".")[0]
    path = f"{os.environ['PATH']}:/usr/sbin"
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o600)
    (folder / "slurm.conf").write_text(
        SETTINGS.format(host=host, folder=folder, port=_free_port(), port_of_node=_free_port()), encoding="utf-8"
    )
    munge = {"key-file": "key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{option}={folder / file}" for option, file in {**munge, "seed-file": "munged.seed"}.items()]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        for command in (["munged", "--force", *options], ["slurmctld", "-c"], ["slurmd", "-c"]):
            log = (folder / f"{command[0]}.said").open("wb")
            subprocess.run(command, check=True, stdout=log, stderr=log, env=os.environ | {"PATH": path})
            log.close()
        until(lambda: "idle" in told("sinfo", "--noheader", "--format=%T"), "the node is not ready")
        yield folder
    finally:
        subprocess.run(["scancel", "--state=RUNNING"], check=False, capture_output=True)
        subprocess.run(["scancel", "--state=PENDING"], check=False, capture_output=True)
        with suppress(subprocess.CalledProcessError, TimeoutError):
            until(lambda: not told("squeue", "--noheader"), "a job does not end")
        for name in ("slurmd", "slurmctld", "munged"):
            _end(folder / f"{name}.pid")
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _end(pid_file: Path) -> None:
    if pid_file.is_file():
        process = int(pid_file.read_text(encoding="utf-8"))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
            until(lambda: not Path(f"/proc/{process}").exists(), f"{pid_file.stem} does not end")


def _free_port() -> int:
    with socket.create_server(("", 0)) as found:
        port: int = found.getsockname()[1]
        return port
