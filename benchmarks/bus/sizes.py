"""What is measured on what: the machine and the versions; and how many lines each queue is."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.bus import measure, peers

ROOT = Path(__file__).resolve().parent.parent.parent
# The modules that a user of the measured queue runs, by path below the packages' common folder.
CORES = {
    "dirq.QueueSimple": ["dirq/QueueSimple.py", "dirq/QueueBase.py", "dirq/utils.py", "dirq/Exceptions.py"],
    "dirq.Queue": ["dirq/queue.py", "dirq/QueueBase.py", "dirq/utils.py", "dirq/Exceptions.py"],
    "huey": ["huey/api.py", "huey/storage.py", "huey/consumer.py", "huey/serializer.py", "huey/registry.py"],
    "kombu, filesystem": [
        *("kombu/transport/filesystem.py", "kombu/transport/virtual/base.py", "kombu/simple.py", "kombu/messaging.py"),
        *("kombu/entity.py", "kombu/connection.py", "kombu/message.py"),
    ],
    "persist-queue, SQLiteAckQueue": ["persistqueue/sqlackqueue.py", "persistqueue/sqlbase.py"],
    "persist-queue, file Queue": ["persistqueue/queue.py"],
    "litequeue": ["litequeue.py"],
}
QUEUE = [f"bus/{name}.py" for name in ("mailbox", "claim", "files", "locks", "tries", "schema")]


def machine() -> str:
    """One line: processors, kernel, file systems, Python, versions of the peers."""
    kinds = [f"{kind(path)} ({name})" for name, path in measure.PLACES.items()]
    parts = [f"{len(os.sched_getaffinity(0))} cores", f"Linux {platform.release()}", ", ".join(kinds)]
    return " · ".join([*parts, f"Python {platform.python_version()}", ", ".join(map(version, peers.DISTRIBUTIONS))])


def kind(path: str) -> str:
    """The type of the file system that holds a path."""
    argv = ["df", "--output=fstype", path]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1]


def version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} not installed"


def run(quick: bool) -> None:
    measure.head("Lines, as `wc -l` counts them", "queue", "its modules", "lines", "all of its package")
    ours = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bus").glob("*.py"))
    measure.row("**the mailbox**", ", ".join(QUEUE), *(f"{lines(ROOT, names):,}" for names in (QUEUE, ours)))
    for name, paths in CORES.items():
        try:
            parent = Path(peers.load(paths[0].partition("/")[0].removesuffix(".py")).__file__ or "").parent
        except ImportError:
            measure.row(name, "not installed", "-", "-")
            continue
        base = parent if "/" not in paths[0] else parent.parent
        whole = [str(one.relative_to(base)) for one in base.glob(f"{paths[0].partition('/')[0]}/**/*.py")] or paths
        whole = [one for one in whole if "/tests/" not in one]
        measure.row(
            name, ", ".join(Path(one).name for one in paths), f"{lines(base, paths):,}", f"{lines(base, whole):,}"
        )
    measure.note("bus/ also has runs, the flow and waking; the peers' packages have other queues, too.")


def lines(base: Path, paths: list[str]) -> int:
    return sum((base / path).read_bytes().count(b"\n") for path in paths)
