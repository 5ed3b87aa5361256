"""Wait for a change in some folders. Events are doorbells, never data: whoever wakes lists, and works through the list.

Only creation and moves-in are watched, so that an agent does not wake itself by finishing a request. An event
that is lost costs one poll. Where no watch can be had (limit reached, network file system) the poll does it all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

POLL_S = 0.5  # the longest that a missed event may cost
NETWORK_POLL_S = 2.0  # events of other hosts never arrive there, and a listing costs a round trip
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.glusterfs", "lustre", "9p", "afs"})


class Bell:
    """Rung by new names in the watched folders, by `ring()`, and by nothing else.

    Use as a context manager; `wait()` returns at a ring or after the poll, whichever is first.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.poll_s = NETWORK_POLL_S if any(is_network(folder) for folder in self.folders) else POLL_S
        self._rung = threading.Event()
        self._observer: Any = None

    def __enter__(self) -> Bell:
        from watchdog import events
        from watchdog.observers import Observer

        bell = self

        class Handler(events.FileSystemEventHandler):
            def dispatch(self, event: Any) -> None:
                bell.ring()

        observer = Observer()
        kinds = [events.FileCreatedEvent, events.FileMovedEvent]  # requests are files
        try:
            for folder in self.folders:
                observer.schedule(Handler(), str(folder), event_filter=kinds)
            observer.start()
            self._observer = observer
        except OSError:  # no inotify instance or watch is left: the poll still finds everything
            self._observer = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=5)

    @property
    def watching(self) -> bool:
        """True if changes ring at once; False if only the poll finds them."""
        return self._observer is not None

    def ring(self) -> None:
        self._rung.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until a ring or `seconds` (the poll, if None); True if it rang. Clear BEFORE you list, never after."""
        rang = self._rung.wait(self.poll_s if seconds is None else seconds)
        self._rung.clear()
        return rang


def is_network(folder: Path) -> bool:
    """True if a folder lies on a network file system, by the longest matching mount point of /proc/self/mounts."""
    best, kind = "", ""
    where = str(folder.resolve())
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    for fields in (line.split(" ") for line in lines):
        point = fields[1].replace("\\040", " ")
        if len(point) >= len(best) and (where + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, fields[2]
    return kind in _NETWORK
