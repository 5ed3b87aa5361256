"""Processes that wait for requests, and what takes their watch away.

python -m tests.crash.blind_worker serve FOLDER SECONDS [--no-descriptor]    serve a mailbox; prints whether it watches
python -m tests.crash.blind_worker with LIMIT PROGRAM…                       run a program that can have no watch
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bus.mailbox import Mailbox
from bus.wake import Bell
from tests.processes import start

LIMITS = {  # of a user namespace of its own: the kernel counts watchers there, and nobody else's are touched
    "no watcher allowed": ("max_inotify_instances", 0, False),
    "all watchers in use": ("max_inotify_instances", 3, True),
    "no watch allowed": ("max_inotify_watches", 0, False),
}
NOT_PERMITTED = 3  # exit code: this system lets nobody make a user namespace
NO_DESCRIPTOR = "no descriptor left"
PATIENCE_S = 60.0
_CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


def open_box(folder: Path) -> Mailbox:
    return Mailbox(folder, folders=False, request=None, reply=None, durable=False)


def serve(folder: Path, seconds: float, descriptor: bool) -> None:
    """What an agent does; each reply says when its request was claimed, by the clock that all processes share."""
    box, bell = open_box(folder), Bell([folder / "inbox"])
    wait_s = seconds or bell.poll_s
    with contextlib.nullcontext() if descriptor else no_more_files():
        bell.__enter__()
    print("watching" if bell.watching else "blind", flush=True)
    while True:
        for claim in box.claims():
            claim.commit_file({"claimed": time.monotonic()})
        bell.wait(wait_s)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open no further file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def limited(limit: str, argv: list[str]) -> None:
    """Become a program in a user namespace where no inotify watch is to be had."""
    name, value, use_up = LIMITS[limit]
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWUSER):
        raise SystemExit(NOT_PERMITTED)
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        Path(f"/proc/sys/user/{name}").write_text(str(value))
    except OSError:
        raise SystemExit(NOT_PERMITTED) from None
    while use_up and _libc.inotify_init1(0) >= 0:  # they stay open in the program
        pass
    os.execv(argv[0], argv)


class Worker:
    """A worker process on a mailbox of its own; `watching` as it says itself."""

    def __init__(self, folder: Path, limit: str = "", wait_s: float = 0.0) -> None:
        self.box = open_box(folder)
        argv = [sys.executable, "-m", "tests.crash.blind_worker", "serve", str(folder), str(wait_s)]
        if limit == NO_DESCRIPTOR:
            argv.append("--no-descriptor")
        elif limit:
            argv = [*argv[:3], "with", limit, *argv]
        self.process = start(*argv[1:])

    def ready(self) -> str:
        """watching, blind, or "" where this system does not let it be made blind in this way."""
        assert self.process.stdout is not None
        if word := self.process.stdout.readline().strip():
            return word
        if self.process.wait() != NOT_PERMITTED:
            raise RuntimeError(f"the worker died: {self.process.communicate()[1]}")
        return ""

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.box.close()

    def answered(self, ids: list[str]) -> bool:
        """Wait until all are answered."""
        end = time.monotonic() + PATIENCE_S
        while not (done := all(self.box.answered(id) for id in ids)) and time.monotonic() < end:
            time.sleep(0.002)
        return done


@contextlib.contextmanager
def workers(*them: Worker) -> Iterator[None]:
    try:
        yield
    finally:
        for one in them:
            one.kill()


if __name__ == "__main__":
    what, *more = sys.argv[1:]
    if what == "serve":
        serve(Path(more[0]), float(more[1]), "--no-descriptor" not in more)
    else:
        limited(more[0], more[1:])
