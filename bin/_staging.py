"""Drafts beside what they become, locked while their maker lives: one whose lock is free is a leftover, and goes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bus import files, locks

LOCK, INSIDE = "lock", "run"  # what a draft of a folder holds: the lock, and the folder that is to appear
_UNLOCKED = ".new"  # the end of a name that a file has for the instant before it is locked
_HEX = "[0-9a-f]{8}"


@contextlib.contextmanager
def draft_file(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """(path, open file) of a hidden draft beside `target`, which the block renames or leaves to be removed."""
    for path in _siblings(target.parent, f".{target.name}-"):
        if _abandoned(path):
            path.unlink(missing_ok=True)
    path = target.with_name(f".{target.name}-{os.urandom(4).hex()}")
    with open(_locked(path), "wb") as file:
        try:
            yield path, file
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def draft_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """The path of a folder that the block makes, and renames or leaves to be removed."""
    for path in _siblings(parent, prefix):
        if _abandoned(path / LOCK):
            files.remove_tree(path)
    path = parent / f"{prefix}{os.urandom(4).hex()}"
    path.mkdir()
    try:
        with open(_locked(path / LOCK), "wb"):
            yield path / INSIDE
    finally:
        files.remove_tree(path)


def appear(draft: Path, target: Path) -> None:
    """Give a draft its name; FileExistsError if that is taken, also where another takes it at the same time."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without links, such as most sticks: the name is taken first, and then replaced
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
        try:
            os.rename(draft, target)
        except OSError:
            target.unlink()
            raise


def _siblings(folder: Path, prefix: str) -> list[Path]:
    """The drafts of one kind in a folder; none of any other name, whatever it begins with."""
    names = os.listdir(folder)
    return [folder / name for name in names if re.fullmatch(re.escape(prefix) + _HEX, name)]


def _abandoned(path: Path) -> bool:
    try:
        return path.is_file() and not locks.is_held(path)
    except OSError:
        return False  # a disk without locks: nobody can tell


def _locked(path: Path) -> int:
    """A new open file that is locked from the moment it has its name."""
    unlocked = path.with_name(path.name + _UNLOCKED)
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with contextlib.suppress(OSError):  # a disk without locks, such as some sticks: leftovers stay there
        locks.take(descriptor)
    os.rename(unlocked, path)
    return descriptor
