"""A folder beside a run, full of what a link could lead to, and a word that nothing in the run may ever say."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bus import files

FACTS = {"read": {}, "seconds": 1.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0}
_READ = 32 << 20  # bytes; the larger files of these tests are sparse, and hold nothing after their first page


class Canary:
    """`harm(run)` says in one line what was read, changed or made outside of the run since `seal()`, or ""."""

    def __init__(self, folder: Path, step: str) -> None:
        self.folder, self.word = folder, f"canary-{os.urandom(8).hex()}"
        request = {"schema": "request.v1", "id": self.word, "step": step, "round": 1}
        crash = {"schema": "error.v1", "kind": "error", "message": self.word, "where": self.word, "wait_s": 0.0}
        facts = {**FACTS, "artifacts": {}, "tries": [], "request": request, "request_sha256": "0" * 64}
        (folder / "try-1").mkdir(parents=True)
        for name, document in {
            "canary.json": request,
            "crash.json": crash,
            "try-1/crash.json": crash,
            "try-1/before.json": [self.word],
            "reply.json": {"schema": "reply.v1", "id": self.word, "step": step, **facts},
        }.items():
            (folder / name).write_bytes(files.canonical(document))
        drafts = (".draft-1-canary", "inbox/.draft-1-canary", "outbox/.draft-1-canary")
        for name in (f"{self.word}.txt", "bare/a.txt", *drafts):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(self.word)
        self._sealed: dict[str, tuple[int, int, bytes]] = {}
        self.seal()

    def seal(self) -> None:
        """What is outside now is what must be there at the end."""
        self._sealed = self._look()

    def _look(self) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.lstat()
            data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path.relative_to(self.folder))] = (status.st_mode, status.st_mtime_ns, data)
        return found

    def harm(self, run: Path) -> str:
        now = self._look()
        if now != self._sealed:
            names = sorted(name for name in now.keys() | self._sealed if now.get(name) != self._sealed.get(name))
            return f"changed or made outside of the run: {', '.join(names)[:300]}"
        own = {(self.folder / name).lstat().st_ino for name in now}
        for parent, folders, names in os.walk(run):
            for name in folders + names:
                path = os.path.join(parent, name)
                if self.word in name or self._told(path, own):
                    return f"read outside of the run, and told in {os.path.relpath(path, run)}"
        return ""

    def _told(self, path: str, own: set[int]) -> bool:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(status.st_mode) or status.st_ino in own or status.st_size > _READ:
            return False
        try:
            with open(path, "rb") as file:
                return self.word.encode() in file.read()
        except PermissionError:  # what was planted so: the bus makes no such file
            return False
