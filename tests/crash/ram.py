"""A folder in memory, for the parts that try thousands of mailboxes: what they try does not depend on the disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards: in memory where this system offers it, else `folder`."""
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="crash-", dir=_MEMORY) as place:
        yield Path(place)
