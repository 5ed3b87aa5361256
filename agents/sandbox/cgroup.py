"""A control group of its own for a while: what holds memory and processes, for root as for anyone.

Both kinds are known: version 2, and version 1, where memory and pids have a tree each. A group is made below the one
that this process is in, or below the nearest one above that hands both controllers down; where nobody lets us make
one (most containers), there is none.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "mailroom-"  # and the pid of the maker and a number
CONTROLLERS = ("memory", "pids")
REMOVE_S = 2.0  # what is killed may need a moment to end
# sh reads the folders up to `--`, joins each group (0: the writer itself), and becomes the program: so nothing of
# the program runs outside, and no thread of ours runs Python between fork and exec.
ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'

_numbers = itertools.count(1)


class NoCgroup(Exception):
    """No control group can be made here; the text says why."""


@contextlib.contextmanager
def limited(memory: int, processes: int) -> Iterator[list[str]]:
    """The first words of a command line that runs what follows with at most `memory` bytes and `processes` tasks.

    Threads count as processes. Raises NoCgroup. On leaving, all that is left in it is killed.
    """
    made: dict[str, Path] = {}
    try:
        try:
            for controller, home in homes().items():
                made[controller] = _make(home)
            _limit(made, memory, processes)
        except OSError as error:
            raise NoCgroup(f"{error.filename}: {error.strerror}") from None
        yield ["/bin/sh", "-c", ENTER, "sh", *sorted({str(one) for one in made.values()}), "--"]
    finally:
        for folder in set(made.values()):
            _remove(folder)


def homes() -> dict[str, Path]:
    """{controller: the folder below which a group can be made}; the same one for both in version 2. Raises NoCgroup."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    found = {}
    for _, names, path in own:
        for fields in mounts:
            kind, options = fields[fields.index("-") + 1], set(fields[-1].split(","))
            if kind == "cgroup2" and not names and (home := delegating(Path(fields[4]), path, fields[3])):
                return dict.fromkeys(CONTROLLERS, home)
            for one in CONTROLLERS:
                if kind == "cgroup" and one in names.split(",") and one in options:
                    found[one] = _below(Path(fields[4]), path, fields[3])
    if set(found) != set(CONTROLLERS):
        raise NoCgroup("no cgroup above this process hands down memory and pids")
    return found


def _below(mount: Path, path: str, root: str) -> Path:
    """Where a group's path lies under a mount that may itself begin at a group."""
    inner = os.path.relpath(path, root)
    return mount if inner.startswith("..") else mount / inner


def delegating(mount: Path, path: str, root: str) -> Path | None:
    """The nearest group of version 2, from our own upwards, whose children have both controllers."""
    folder = _below(mount, path, root)
    for one in [folder, *folder.parents]:
        with contextlib.suppress(OSError):
            if set(CONTROLLERS) <= set((one / "cgroup.subtree_control").read_text().split()) and os.access(
                one, os.W_OK
            ):
                return one
        if one == mount:
            break
    return None


def _make(home: Path) -> Path:
    for left in home.glob(f"{NAME}*"):  # of processes that were killed
        if not Path("/proc", left.name.split("-")[1]).exists():
            with contextlib.suppress(OSError):
                left.rmdir()
    folder = home / f"{NAME}{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    return folder


def _limit(made: Mapping[str, Path], memory: int, processes: int) -> None:
    """Write the limits; the files of swap are absent where the kernel counts none."""
    folder = made["memory"]
    (made["pids"] / "pids.max").write_text(str(processes))
    if (folder / "memory.max").exists():
        values = {"memory.max": memory, "memory.swap.max": 0}
    else:
        values = {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
    for name, value in values.items():
        if (folder / name).exists():
            (folder / name).write_text(str(value))


def _remove(folder: Path) -> None:
    end = time.monotonic() + REMOVE_S
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                return  # the next one to be made takes it away
            _kill(folder)
            time.sleep(0.001)


def _kill(folder: Path) -> None:
    """Kill all in a group; 0 stands for one in a pid namespace beside ours, which nobody here can name."""
    with contextlib.suppress(OSError):
        for pid in map(int, (folder / "cgroup.procs").read_text().split()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if pid:
                    os.kill(pid, signal.SIGKILL)
