"""A folder with all that is in it, as a value."""

from __future__ import annotations

import os
from pathlib import Path

# Path, bytes (None: a folder), mode, the first name of this file; what is in a folder comes after it.
Tree = tuple[tuple[str, bytes | None, int, str], ...]


def lay_out(tree: Tree, folder: Path) -> None:
    """Make a folder that holds a tree."""
    folder.mkdir()
    start = f"{folder}{os.sep}"
    for path, data, mode, first in tree:
        if data is None:
            os.mkdir(start + path)
        elif first != path:
            os.link(start + first, start + path)
        else:
            descriptor = os.open(start + path, os.O_WRONLY | os.O_CREAT, mode)
            os.write(descriptor, data)
            os.fchmod(descriptor, mode)  # whatever the umask is
            os.close(descriptor)


def look(folder: Path) -> Tree:
    """The tree that a folder holds, in the order of `Cut.tree`."""
    found: list[tuple[str, bytes | None, int, str]] = []
    first: dict[int, str] = {}
    ways = [""]
    for way in ways:
        for name in sorted(os.listdir(folder / way)):
            path, status = way + name, os.lstat(folder / way / name)
            if (folder / path).is_dir():
                found.append((path, None, status.st_mode & 0o7777, ""))
                ways.append(path + "/")
            else:
                data = (folder / path).read_bytes()
                found.append((path, data, status.st_mode & 0o7777, first.setdefault(status.st_ino, path)))
    return tuple(found)
