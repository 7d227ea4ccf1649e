"""A PostgreSQL server of the tests' own, from Debian's binaries: in a temporary folder, on a socket there alone."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")


def binary(name: str) -> str | None:
    """One of the server's programs; Debian keeps them off the path."""
    beside = sorted(DEBIAN.glob(f"*/bin/{name}"))
    return str(beside[-1]) if beside else shutil.which(name)


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database; the server and its files are gone afterwards. It refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        shutil.chown(folder, user)
    data, control = folder / "data", [str(binary("pg_ctl")), "-D", str(folder / "data"), "-s", "-w"]

    def run(*command: str) -> None:
        subprocess.run(command, user=user if os.getuid() == 0 else None, check=True, capture_output=True, cwd=folder)

    try:
        run(str(binary("initdb")), "-D", str(data), "-U", "square", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        # Output to a file: a server that inherited the pipe would keep the caller waiting for its end.
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(*control, "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://square@/postgres?host={folder}"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
