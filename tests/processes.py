"""Start real processes for the tests, and wait for what they do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0  # how long a test waits for what takes a second on a quiet machine; no test asserts a tight time


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def start(*argv: str, **options) -> subprocess.Popen:
    """Start `python argv…` with the checkout on its path; stdout and stderr are pipes of text."""
    return subprocess.Popen(
        [sys.executable, *argv], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run(*argv: str, **options) -> subprocess.CompletedProcess:
    """Run `python argv…` to its end."""
    return subprocess.run(
        [sys.executable, *argv], env=environment(), capture_output=True, text=True, timeout=PATIENCE_S * 2, **options
    )


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until `condition()` is true; fails after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"still not so after {PATIENCE_S:.0f} s: {what or condition}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """True if a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def working_in(folder: Path, program: str) -> list[int]:
    """The pids of the processes of a program whose working folder is `folder`, in whichever pid namespace."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            if one.joinpath("comm").read_text().strip() == program and one.joinpath("cwd").readlink() == folder:
                found.append(int(one.name))
        except (OSError, ValueError):  # it has ended
            continue
    return found
