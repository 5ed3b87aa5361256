"""What a storm left, compared with what was promised."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agents._run import tidy
from tests.sharedfs.box import STEP, box, reply_bytes, whole
from tests.sharedfs.filesystem import HOSTS, FileSystem


class Remains:
    """The replies of one storm (`seen`: as each was first seen), read again at both clients and on the servers."""

    def __init__(self, fs: FileSystem, name: str, kind: str, seen: dict[str, bytes]) -> None:
        self.fs, self.name, self.kind, self.seen = fs, name, kind, seen
        self.failures = 0  # recorded in the replies, of work that cannot fail
        self.bad: dict[str, str] = {}
        for host in HOSTS:
            self._read(host)
        for folder in fs.backing():
            self._compare(folder)

    def _read(self, host: str) -> None:
        mailbox = box(self.fs.folder / host, self.name, self.kind)
        for id, first in self.seen.items():
            if why := whole(mailbox, id) or (
                "" if reply_bytes(mailbox.folder, self.kind, id) == first else "it changed"
            ):
                self.bad[id] = f"at {host}: {why}"
            elif host == "A":
                self.failures += sum(one["kind"] == "error" for one in (mailbox.reply(id) or {}).get("tries", ()))
        mailbox.close()

    def _compare(self, folder: Path) -> None:
        """A server's own files, by their bytes; not every server has every file."""
        for id, first in self.seen.items():
            with contextlib.suppress(FileNotFoundError):
                data = reply_bytes(folder / self.name / STEP, self.kind, id)
                if data and data != first:  # an empty one only says on which server the file is
                    self.bad[id] = f"on the server's disk: other bytes in {folder.name}"

    def broken(self, acknowledged: set[str]) -> list[str]:
        """Every way in which the promise was broken, each in a line."""
        found = []
        if lost := acknowledged - self.seen.keys():
            found.append(f"acknowledged and not answered: {sorted(lost)}")
        if self.bad:
            found.append(f"replies: {self.bad}")
        mailbox = box(self.fs.clear_view(), self.name, self.kind)
        tidy(mailbox)  # as the next agent does
        if left := [name for part in ("inbox", "work", "dead") for name in _names(mailbox.folder / part)]:
            found.append(f"left behind: {left}")
        mailbox.close()
        return found


def _names(folder: Path) -> list[str]:
    """What is in a folder, but for the hidden drafts of putters that were killed."""
    return [f"{folder.name}/{name}" for name in os.listdir(folder) if not name.startswith(".")]
