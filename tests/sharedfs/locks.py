"""The lock that a claim is: its kind, who sees it, and when it falls."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from bus import locks
from tests.crash.storm_processes import fork
from tests.sharedfs.children import end
from tests.sharedfs.filesystem import FileSystem
from tests.sharedfs.row import FALLS, LOCK, Row

AT_ONCE_S = 0.5
WAIT_S = 5.0  # how long a lock may take to fall before the trial says "not within"


def reaches(fs: FileSystem) -> bool:
    """True if a lock that is held at A is seen, and refused, at B."""
    name = f"reaches-{time.monotonic_ns()}"
    descriptor = _open(fs.folder / "A" / name)
    try:
        return locks.take(descriptor) and _seen(fs.folder / "B" / name)
    finally:
        os.close(descriptor)


def run(fs: FileSystem) -> Iterator[Row]:
    yield _kept(fs)
    yield _falls(fs)


def _kept(fs: FileSystem) -> Row:
    """Held at A: seen there and at B; looking at it does not lose it, nor does a holder's end while its child lives."""
    a, b = fs.folder / "A" / "kept", fs.folder / "B" / "kept"
    kind, reach = _kind(fs.folder / "A" / "kind"), reaches(fs)
    pid, inner = _holder(a)
    seen = [locks.is_held(a), _seen(a), _seen(b) == reach]
    os.kill(pid, signal.SIGUSR1)  # it opens, tests and closes the file once more, as `state` does
    os.waitpid(pid, os.WUNTRACED)
    seen += [locks.is_held(a), _seen(b) == reach]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seen += [locks.is_held(a), _seen(b) == reach]  # the child that was given it lives
    os.kill(inner, signal.SIGKILL)
    detail = f"{kind}; held at A; looked at from A and B, tested by its own holder, held on by a child of a killed one"
    broken = "" if all(seen) else f"lost, or never seen: {seen}"
    return Row(LOCK, f"{kind}, {'seen and refused' if reach else 'NOT seen'}", detail, broken)


def _kind(path: Path) -> str:
    descriptor = _open(path)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, locks._WHOLE_FILE)
        return "OFD"
    except OSError as error:
        return f"flock ({errno.errorcode[error.errno or 0]} for OFD)"
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _seen(path: Path) -> bool:
    """True if the lock is both shown and refused at a path."""
    descriptor = _open(path)
    try:
        shown = locks.is_held(path)
        return not locks.take(descriptor) and shown
    finally:
        os.close(descriptor)


def _holder(path: Path) -> tuple[int, int]:
    """The pids of a child that holds the lock, stops when it has been asked to test it, and of its own child."""
    said_r, said_w = os.pipe()

    def test(*_: object) -> None:
        locks.is_held(path)
        os.kill(os.getpid(), signal.SIGSTOP)

    def hold() -> None:
        descriptor = _open(path)
        if not locks.take(descriptor):
            raise RuntimeError(f"{path}: could not be locked")
        signal.signal(signal.SIGUSR1, test)
        inner = fork(_wait_for_ever)
        os.write(said_w, f"{inner}\n".encode())
        _wait_for_ever()

    pid = fork(hold)
    os.close(said_w)
    with os.fdopen(said_r) as said:
        return pid, int(said.readline())


def _wait_for_ever() -> None:
    while True:
        signal.pause()


def _falls(fs: FileSystem) -> Row:
    """Killed: the holder at A, then a holder's whole client; how long B still sees the lock."""
    after = {}
    for name in ("holder", "client"):
        a = fs.folder / "A" / f"killed-{name}"
        pid, inner = _holder(a)
        began = time.monotonic()
        if name == "client":
            fs.kill_client("A")
        os.kill(inner, signal.SIGKILL)
        end(pid)
        after[name] = _gone_after(fs.folder / "B" / a.name, began)
    known = fs.forget_client("A")
    last = _gone_after(fs.folder / "B" / "killed-client", time.monotonic())
    fs.mount_again("A")
    told = {name: _told(seconds) for name, seconds in after.items()}
    cell = f"{told['holder']} / {told['client']}" + (f", but by {known}" if known and last is not None else "")
    detail = f"held at A; free at B when the holder was killed: {told['holder']}; its client: {told['client']}"
    stuck = after["holder"] is None or last is None
    return Row(FALLS, cell if reaches(fs) else "not seen anyway", detail, f"it stays: {detail}" if stuck else "")


def _told(seconds: float | None) -> str:
    if seconds is None:
        return f"not in {WAIT_S:.0f} s"
    return "at once" if seconds < AT_ONCE_S else f"{seconds:.1f} s"


def _gone_after(path: Path, began: float) -> float | None:
    """Seconds until a lock is no longer seen, from `began`; None if that takes longer than WAIT_S."""
    while _seen(path):
        if time.monotonic() - began > WAIT_S:
            return None
        time.sleep(0.05)
    return time.monotonic() - began
