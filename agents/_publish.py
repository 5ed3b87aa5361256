"""Publish a file by its path: it appears whole, once, and never changes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bus import files


def publish_path(path: Path, data: bytes, durable: bool = True) -> bool:
    """Make a file appear, whole; True if it is new, False if it was there with the same bytes, else FileExistsError."""
    folder_fd = os.open(path.parent, files.FOLDER)
    try:
        files.publish(folder_fd, path.name, data, durable)
        return True
    except FileExistsError:
        with contextlib.suppress(files.BadFile):  # longer, or no regular file: it is not the same
            if files.read_bytes(path.name, len(data), folder_fd) == data:
                if durable:
                    files.fsync(path)
                    os.fsync(folder_fd)
                return False
        raise
    finally:
        os.close(folder_fd)
