"""Where a key stands, in any of its forms: in files, in their names, in archives, in what servers were sent."""

from __future__ import annotations

import functools
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from agents.models.keys import forms_of

ISSUER = "sk-or-v1-"  # how all keys of an issuer begin tells nothing
PIECE = 10  # characters: of every 19 of a key that stand together, one piece is found; by chance none is


def in_bytes(data: bytes, key: str) -> list[str]:
    """The pieces of a key, in any of its forms, that stand in some bytes: half of one is too much, too."""
    return [piece for piece in pieces(key) if piece.encode() in data]


@functools.cache
def pieces(key: str) -> tuple[str, ...]:
    """One after another what every form of the secret part of a key is made of."""
    forms = sorted(forms_of(key.removeprefix(ISSUER)))
    return tuple({form[at : at + PIECE]: None for form in forms for at in range(0, len(form) - PIECE + 1, PIECE)})


def in_tree(folder: Path, key: str, but: tuple[Path, ...] = ()) -> list[str]:
    """The files and links below a folder that hold a key, bear it in their names or lead to it; archives unpacked."""
    found = []
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in [*names, *folders]):
            if path in but:
                continue
            told = os.fsencode(path) + (os.fsencode(os.readlink(path)) if path.is_symlink() else b"")
            if in_bytes(told, key) or any(in_bytes(data, key) for data in contents(path)):
                found.append(str(path))
    return found


def contents(path: Path) -> Iterator[bytes]:
    """What a file holds: as it is, and each member where it is an archive."""
    if path.is_symlink() or not path.is_file():
        return
    yield path.read_bytes()
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as tar:
            for member in tar:
                yield member.name.encode()
                if file := tar.extractfile(member):
                    yield file.read()


def in_requests(log: Path, key: str, with_authorization: bool) -> list[str]:
    """The requests of a scripted server's log that hold a key; its own endpoint's header may be left out."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    left_out = () if with_authorization else ("authorization",)
    rows = [json.dumps({name: one for name, one in row.items() if name not in left_out}) for row in lines]
    return [row[:300] for row in rows if in_bytes(row.encode(), key)]
