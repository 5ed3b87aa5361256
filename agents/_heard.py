"""Which answers of models the tries at a request have had: whoever gets one more has got on, killed or not.

kept/answers-12.txt   their IDs, a line each; its name is the new part that a try which is killed has kept
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bus import files

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Heard:
    """The answers that earlier tries and this one have had; `kept` is the folder that outlives a try."""

    def __init__(self, kept: Path) -> None:
        self._path = next(kept.glob("answers-*.txt"), kept / "answers-0.txt")
        try:
            self._ids = set(files.read_bytes(self._path, limit=sys.maxsize).decode().split())
        except FileNotFoundError:
            self._ids = set[str]()

    def note(self, id: str) -> bool:
        """Note an answer that is handed out; False, and nothing is changed, if any try has had it before."""
        if id in self._ids:
            return False
        descriptor = os.open(self._path, _APPEND, 0o644)
        try:
            os.write(descriptor, f"{id}\n".encode())
        finally:
            os.close(descriptor)
        self._ids.add(id)
        self._path = self._path.rename(self._path.with_name(f"answers-{len(self._ids)}.txt"))
        return True
