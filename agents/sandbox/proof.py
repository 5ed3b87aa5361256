"""Prove, when a run starts, that the sandbox holds on this machine: a script inside tries to get out, and must fail.

proof = prove(config.infra["sandbox"])      proof.line: what holds, and by what; raises Refused
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.sandbox.closed import MB, Limits, Ran, Refused, closed

SMALL = Limits(seconds=30.0, memory=192 * MB, processes=24, file_bytes=4 * MB)  # soon used up, so the proof is short
CLOSED = ("environment", "read", "write", "network", "file_size")  # what no sandbox may leave open
COUNTED = ("processes", "memory")  # what Landlock cannot hold alone: it is then `reduced` by these, too
WHAT_TO_DO = {
    "processes": "run Mailroom as another user than root, or let it make control groups in /sys/fs/cgroup",
    "memory": "let Mailroom make control groups in /sys/fs/cgroup",
}
OTHERWISE = "update bubblewrap and the kernel, or write `sandbox: refuse` in config/infra.yaml"


@dataclass(frozen=True)
class Proof:
    """What was tried and found to hold. `lacking`: limits that do not (never more than those of COUNTED)."""

    how: str
    counted_by: str  # what limits memory and processes
    lacking: tuple[str, ...]
    seconds: float

    @property
    def reduced(self) -> bool:
        return self.how != "bwrap"

    @property
    def line(self) -> str:
        """For people, in one line."""
        lacks = f"; no limit of {' and '.join(self.lacking)}" if self.lacking else ""
        return f"sandbox: {self.how}{' (reduced)' * self.reduced}, memory and processes by {self.counted_by}{lacks}"


def prove(how: str, *, gpu: bool = False) -> Proof:
    """Try the sandbox `how` (`sandbox:` of infra.yaml), with the GPUs or without; raises Refused with the reason."""
    with tempfile.TemporaryDirectory(prefix="mailroom-proof-") as folder, outside(Path(folder)) as given:
        work = Path(folder, "work")
        work.mkdir()
        script = Path(__file__).with_name("tries.py").read_text("utf-8")
        ran = closed(["python", "-I", "-S", "-c", script, json.dumps(given)], work, SMALL, how=how, gpu=gpu)
    found = _found(ran)
    lacking = tuple(one for one in (*CLOSED, *COUNTED) if found.get(one) != "")
    if lacking and (how == "bwrap" or set(lacking) & set(CLOSED)):
        first = lacking[0]
        raise Refused(f"sandbox: {how} does not hold here: {first}: {found[first]}; {WHAT_TO_DO.get(first, OTHERWISE)}")
    counted_by = "a control group" if ran.grouped else "RLIMIT_AS and RLIMIT_NPROC, memory of each process"
    return Proof(how, counted_by, lacking, ran.seconds)


@contextlib.contextmanager
def outside(folder: Path) -> Iterator[dict[str, Any]]:
    """What there is to get at: a secret in a file and in the environment of a process, and a port that listens."""
    secret = secrets.token_hex()
    (folder / "secret").write_text(secret)
    holder = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], env={"S": secret}, stdin=subprocess.PIPE
    )
    try:
        with holder, socket.create_server(("127.0.0.1", 0)) as listener:
            home = os.path.expanduser("~")
            yield {
                "secret": secret,
                "file": str(folder / "secret"),
                "writes": [
                    *(os.path.join(one, "mailroom-proof") for one in (folder, home, "/usr", "/etc", "/dev")),
                    "/proc/sys/kernel/core_pattern",
                ],
                "port": listener.getsockname()[1],
                "processes": SMALL.processes,
                "memory": 2 * SMALL.memory,
                "file_bytes": SMALL.file_bytes + 1,
            }
    finally:
        holder.kill()


def _found(ran: Ran) -> Mapping[str, str]:
    """What the script printed; raises Refused where it printed nothing of the kind."""
    try:
        found = json.loads(ran.output.splitlines()[-1])
        return {str(key): str(value) for key, value in found.items()}
    except (IndexError, ValueError, AttributeError):
        said = (ran.output.strip() or "it printed nothing").splitlines()[-1]
        raise Refused(f"sandbox: the proof ended with exit {ran.exit} inside: {said}; {OTHERWISE}") from None
