"""What programs do to a disk: names, bytes and modes that change, syncs that keep them, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

ROOT = 0  # the node of the recorded folder itself, which outlives everything

Node = int  # a file or a folder, whatever its names


@dataclass(frozen=True)
class Entry:
    """A name in a folder was given to a node, or (None) removed; with `source`, moved from another name."""

    folder: Node
    name: str
    node: Node | None
    source: tuple[Node, str] | None = None


@dataclass(frozen=True)
class Bytes:
    """Bytes of a file were written at an offset, or (`data` None) its size was set to it."""

    node: Node
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Mode:
    node: Node
    mode: int


@dataclass(frozen=True)
class Sync:
    """A node, or (None) everything, is on the disk from here on; `where` is the code that asked for it."""

    node: Node | None
    where: str


@dataclass(frozen=True)
class Mark:
    """The recorded program said that something is done: a promise from here on."""

    text: str


Change = Entry | Bytes | Mode
Operation = Change | Sync | Mark


def keeps(sync: Sync, operation: Operation) -> bool:
    """True if a sync puts an earlier change on the disk."""
    if isinstance(operation, Entry):
        return sync.node in (None, operation.folder)
    return isinstance(operation, Bytes | Mode) and sync.node in (None, operation.node)


def is_of(operation: Operation, node: Node) -> TypeGuard[Bytes]:
    """True for a change of this file's bytes."""
    return isinstance(operation, Bytes) and operation.node == node


def contents(writes: list[tuple[bool, Bytes]]) -> list[bytes]:
    """What a file may hold: only the bytes that were kept, … and last all that was written."""
    kept = written(one for pending, one in writes if not pending)
    whole = written(one for _, one in writes)
    zeros, other = bytearray(whole), bytearray(whole)
    for pending, one in writes:
        if pending and one.data:
            part = slice(one.offset, min(one.offset + len(one.data), len(whole)))
            zeros[part] = bytes(len(zeros[part]))
            other[part] = bytes(byte ^ 0x55 for byte in other[part])
    half = whole[: (len(whole) + len(kept)) // 2] if whole.startswith(kept) else kept
    options = dict.fromkeys([kept, half, bytes(zeros), bytes(other)])
    options.pop(whole, None)
    return [*options, whole]


def written(writes: Iterable[Bytes]) -> bytes:
    """What a file holds after these changes."""
    data = bytearray()
    for one in writes:
        size = one.offset if one.data is None else one.offset + len(one.data)
        data.extend(bytes(max(0, size - len(data))))
        if one.data is None:
            del data[size:]
        else:
            data[one.offset : size] = one.data
    return bytes(data)
