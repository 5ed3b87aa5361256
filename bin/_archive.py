"""Write a run as one file, in an order in which a live copy loses nothing.

The archive is a gzipped tar of one folder. Its last member is MANIFEST.json (manifest.v1): what the machine has, and
name -> sha256, bytes. Two packs of the same run on one machine are the same bytes: members in one order, no times, no
owners, no host.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import _secrets
import _tree
from _lineage import PACKED
from agents.models.ledger import NAME as LEDGER
from bus import files, flow, schema

MANIFEST = "MANIFEST.json"
OF_HERE = ("lock", "guard.lock", "pack.lock", "STOP")  # in supervisor/: of this machine
LEFT_BEHIND = frozenset({MANIFEST, PACKED, *(f"supervisor/{name}" for name in OF_HERE)})
FIRST = ("inbox", "dead", "work")  # every inbox before any outbox; a reply moves from work to outbox, so work before it
LEVEL = 6  # of gzip: 9 takes four times as long and saves 1 %


class Unpackable(Exception):
    """A run that cannot be packed as it is; one line: where, what, what to do."""


class Source:
    """A file for tarfile to read: hashes it, and looks for secrets, as it goes."""

    def __init__(self, file: IO[bytes], own: Sequence[bytes]) -> None:
        self.file, self.digest, self.scanner = file, hashlib.sha256(), _secrets.Scanner(own)
        self.secrets: list[str] = []

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        self.secrets += self.scanner.feed(block)
        return block


def write(
    folder: Path,
    name: str,
    target: IO[bytes],
    machine: dict[str, Any],
    left_behind: frozenset[str],
    at: Callable[[str], None],
    own: Sequence[bytes] = (),
) -> int:
    """Write a run's folder as `name` into an open file; returns how many files; raises Unpackable.

    `own`: the keys of this machine, which no file may hold (see `_secrets.own_keys`).
    """
    known: dict[str, Any] = {}
    secrets: list[str] = []
    packed = gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=LEVEL, mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member(name, tarfile.DIRTYPE))
        for entry in in_order(folder):
            if entry.name in LEFT_BEHIND | left_behind or _tree.is_leftover(entry.name):
                continue
            at(f"packing {entry.name}: {len(known):,} files so far")
            secrets += [f"{entry.name}: its name {what}" for what in _secrets.new_in_name(entry.name, own)]
            if entry.is_folder:
                tar.addfile(_member(f"{name}/{entry.name}", tarfile.DIRTYPE))
            elif entry.is_file:
                secrets += _add(tar, folder, name, entry, known, own)
            else:
                raise Unpackable(f"{entry.name}: is {entry.kind}; a run holds files and folders alone: remove it")
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every one
        if secrets:
            more = f" (and {len(secrets) - 1} more; see bin/check)" if len(secrets) > 1 else ""
            raise Unpackable(f"{secrets[0]}{more}; take it out before the run leaves this machine")
        manifest = {"schema": "manifest.v1", "run": name, "machine": machine, "files": known}
        document = files.canonical(schema.check(manifest, "manifest.v1"))
        last = _member(f"{name}/{MANIFEST}", tarfile.REGTYPE)
        last.size = len(document)
        tar.addfile(last, io.BytesIO(document))
    return len(known)


def in_order(folder: Path) -> Iterator[_tree.Entry]:
    """A run in the order in which it is read: its own files, the steps, then the services and the rest.

    Of each every inbox comes before any outbox. Services come last, since a step asks them before it replies: a copy
    that has the step's reply has what the step asked, too; and after their replies the ledger that knows their cost.
    """
    top = _tree.children(folder)
    boxes = [entry.name for entry in top if entry.is_folder]
    yield from top
    for group in ([box for box in boxes if flow.STEP.fullmatch(box)], [b for b in boxes if not flow.STEP.fullmatch(b)]):
        for part in FIRST:
            for box in group:
                yield from _subtree(folder, box, {part}.__contains__)
        for box in group:
            yield from _subtree(folder, box, lambda name: name not in (*FIRST, LEDGER))
            yield from _subtree(folder, box, LEDGER.__eq__)  # it is written before the replies that it pays for


def _subtree(folder: Path, box: str, wanted: Callable[[str], bool]) -> Iterator[_tree.Entry]:
    for entry in _tree.children(folder, box):
        part = entry.name.rpartition("/")[2]
        if wanted(part):
            yield entry
            if entry.is_folder:
                yield from _replies(folder, entry.name) if part == "outbox" else _tree.walk(folder, entry.name)


def _replies(folder: Path, outbox: str) -> Iterator[_tree.Entry]:
    """What an outbox holds, each reply whole; raises Unpackable for one that is set aside while it is read."""
    for reply in _tree.children(folder, outbox):
        yield reply
        if reply.is_folder:
            yield from _tree.walk(folder, reply.name, _went)
            try:  # another may be there by now, and what was read be of both
                same = os.path.samestat(reply.status, os.lstat(folder / reply.name))
            except FileNotFoundError:
                same = False
            if not same:
                _went(reply.name)


def _went(name: str) -> None:
    """A reply never changes, and what lacks a part of one would be packed as damaged."""
    raise Unpackable(f"{name}: went away while the run was packed; pack it again")


def _add(
    tar: tarfile.TarFile, folder: Path, name: str, entry: _tree.Entry, known: dict[str, Any], own: Sequence[bytes]
) -> list[str]:
    """Add one file; returns what looks like a secret in it. One that went away is left out, but not out of a reply."""
    try:
        opened = files.open_regular(folder / entry.name)
    except FileNotFoundError:
        if "/outbox/" in entry.name:
            _went(entry.name)
        return []
    with open(opened, "rb") as file:
        status = os.fstat(file.fileno())
        member = _member(f"{name}/{entry.name}", tarfile.REGTYPE)
        member.size = status.st_size
        if status.st_mode & 0o100 and "/inbox/" not in entry.name:  # there it marks work that has begun here
            member.mode = 0o755
        source = Source(file, own)
        tar.addfile(member, source)  # type: ignore[arg-type]  # it needs no more than read()
    known[entry.name] = {"sha256": source.digest.hexdigest(), "bytes": member.size}
    return [f"{entry.name}: {what}" for what in [*source.secrets, *source.scanner.end()]]


def _member(name: str, kind: bytes) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return made
