"""Wait for a change in some folders. Events are doorbells, never data: whoever wakes lists, and works through the list.

Only creation and moves-in are watched, so that an agent does not wake itself by finishing a request. A lost event
costs one poll; where no watch can be had (limit reached, network file system) the poll does it all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
from collections.abc import Iterable
from pathlib import Path

POLL_S = 0.5  # the longest that a missed event may cost
NETWORK_POLL_S = 2.0  # events of other hosts never arrive there, and a listing costs a round trip
_NETWORK = re.compile(r"fuse|fuse\..*|nfs4?|cifs|smb.*|ceph|lustre|9p|afs|gfs2|ocfs2|gpfs|beegfs|virtiofs")
_BURST, _EVENT = 65536, 272  # bytes of one read; of the longest event
_CREATED_OR_MOVED_IN = 0x100 | 0x80  # IN_CREATE | IN_MOVED_TO of <sys/inotify.h>


class Bell:
    """Rung by new names in the watched folders, by `ring()`, and by nothing else; a context manager."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = list(folders)
        self.poll_s = NETWORK_POLL_S if any(is_network(folder) for folder in self.folders) else POLL_S
        self._ring, self._watch = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), -1
        self.watching = False  # True if changes ring at once; False if only the poll finds them
        self._poll = select.poll()
        self._poll.register(self._ring, select.POLLIN)

    def __enter__(self) -> Bell:
        self._watch = _inotify(self.folders)
        self.watching = self._watch >= 0
        if self.watching:
            self._poll.register(self._watch, select.POLLIN)
        return self

    def __exit__(self, *_: object) -> None:
        if self.watching:
            os.close(self._watch)
        os.close(self._ring)
        self._ring, self.watching = -1, False

    def ring(self) -> None:
        """End a `wait`; safe in a signal handler."""
        with contextlib.suppress(OSError):  # nobody waits any more
            os.eventfd_write(self._ring, 1)

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until a ring or `seconds` (the poll, if None); True if it rang. List after it, never before it."""
        ready = self._poll.poll((self.poll_s if seconds is None else seconds) * 1000)
        for descriptor, _ in ready:
            with contextlib.suppress(BlockingIOError):
                while len(os.read(descriptor, _BURST)) > _BURST - _EVENT:
                    pass  # full: a burst, and more of it may be left
        return bool(ready)


def _inotify(folders: list[Path]) -> int:
    """A descriptor that can be read when a name appears in a folder; -1 where there is none to be had."""
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    added = [libc.inotify_add_watch(descriptor, os.fsencode(folder), _CREATED_OR_MOVED_IN) for folder in folders]
    if descriptor >= 0 and min(added, default=0) < 0:
        os.close(descriptor)
        return -1
    return descriptor


def is_network(folder: Path) -> bool:
    """True if a folder lies on a network file system, by the longest matching mount point of /proc/self/mounts."""
    best, kind, where = "", "", f"{folder.resolve()}/"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines():
            _, point, type, *_ = line.split(" ")
            point = point.replace("\\040", " ").rstrip("/") + "/"  # mount writes a space so
            if len(point) >= len(best) and where.startswith(point):
                best, kind = point, type
    return _NETWORK.fullmatch(kind) is not None
