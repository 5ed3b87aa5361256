"""A disk that keeps only what it must: every state that a folder may be in after the power fails.

The rules are those of POSIX and of no friendlier file system:
- fsync of a file keeps its bytes and its mode, not its name; fsync of a folder keeps every name that was made,
  moved or removed in it until then, not the bytes behind it; syncfs keeps everything.
- A rename happens or does not, as on every journalling file system; fsync of the folder that it goes to keeps it,
  fsync of the folder that it comes from alone leaves it open.
- What was not kept may be there or not, each change for itself, in any combination. Bytes that were not kept may be
  there, missing, there in part, zeros, or anything else of the same length.
- A folder that is not there takes with it what is in it. What no file system can do is left out: a folder with two
  names, a rename onto a folder that still holds something.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.crash.disk_operations import ROOT, Bytes, Entry, Mark, Mode, Node, Operation, Sync, contents, is_of, keeps
from tests.crash.disk_tree import Tree

_PARTS = ("inbox", "work", "outbox", "dead", "kept", "stale")  # folders that say more than "folder"

Names = dict[Node, dict[str, Node]]  # of every folder, what is in it


@dataclass
class Disk:
    """What was done to a folder, in order. `notes` has the system call behind each operation, for people."""

    operations: list[Operation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folders: set[Node] = field(default_factory=lambda: {ROOT})
    modes: dict[Node, int] = field(default_factory=lambda: {ROOT: 0o755})  # the ones that they were made with

    def make(self, folder: bool, mode: int) -> Node:
        """A new node, which has no name yet."""
        node = len(self.modes)
        self.modes[node] = mode
        if folder:
            self.folders.add(node)
        return node

    def did(self, operation: Operation, note: str) -> None:
        self.operations.append(operation)
        self.notes.append(note)

    def cuts(self, first: int = 0, ignored: frozenset[int] = frozenset()) -> Iterator[Cut]:
        """The moment after each operation from number `first` on, as if the syncs `ignored` were not there."""
        pending: set[int] = set()
        for at, operation in enumerate(self.operations):
            if isinstance(operation, Sync):
                if at not in ignored:
                    pending = {one for one in pending if not keeps(operation, self.operations[one])}
            elif not isinstance(operation, Mark):
                pending.add(at)
            if at >= first:
                yield Cut(self, at, sorted(pending))

    def syncs(self) -> Iterator[tuple[int, str]]:
        """Each sync that a program asked for: its number, and the place in its code with what it kept."""
        for at, one in enumerate(self.operations):
            if isinstance(one, Sync) and one.where:
                name = self.notes[at].rstrip(")").rpartition("/")[2]
                what = "file" if one.node not in self.folders else name if name in _PARTS else "folder"
                yield at, f"{one.where} of {what}"

    def marks(self, at: int) -> tuple[str, ...]:
        """What was promised up to an operation."""
        return tuple(one.text for one in self.operations[: at + 1] if isinstance(one, Mark))

    def now(self) -> Tree:
        """The folder as the running system sees it, after the last operation."""
        cut = Cut(self, len(self.operations) - 1, [])
        tree = cut.tree(())
        assert tree is not None
        return tree


@dataclass(frozen=True)
class Many:
    """How many states are tried at one cut: all, if there are no more than that; else so many of each sort."""

    all: int
    alone: int
    drawn: int


class Cut:
    """The power fails right after operation `at`, while the changes `pending` are on no disk yet."""

    def __init__(self, disk: Disk, at: int, pending: list[int]) -> None:
        self.disk, self.at = disk, at
        done, held = list(enumerate(disk.operations[: at + 1])), set(pending)
        # Each axis is one thing that may be so or so, independent of the others. 0: not there; the last: all of it.
        self.names = [one for one in pending if isinstance(disk.operations[one], Entry)]
        self.modes = [one for one in pending if isinstance(disk.operations[one], Mode)]
        entries = [(self._axis(self.names, n), one) for n, one in done if isinstance(one, Entry)]
        kept = next((n for n, (axis, _) in enumerate(entries) if axis >= 0), len(entries))
        self._base: Names = {node: {} for node in disk.folders}  # what is common to all choices
        for _, entry in entries[:kept]:
            _apply(entry, self._base)
        self._entries = entries[kept:]
        self._chmods = [(self._axis(self.modes, n), one) for n, one in done if isinstance(one, Mode)]
        writes: dict[Node, list[tuple[bool, Bytes]]] = {}
        for n, one in done:
            if isinstance(one, Bytes):
                writes.setdefault(one.node, []).append((n in held, one))
        self._contents = {node: contents(all) for node, all in writes.items()}
        self.torn = [node for node, options in self._contents.items() if len(options) > 1]
        self.sizes = [2] * (len(self.names) + len(self.modes)) + [len(self._contents[node]) for node in self.torn]

    @staticmethod
    def _axis(axes: list[int], n: int) -> int:
        return axes.index(n) if n in axes else -1

    def is_in_the_next(self) -> bool:
        """True if the next cut has all states of this one, and the same promises: one more change that is not kept."""
        after = self.disk.operations[self.at + 1 : self.at + 2]
        return bool(after) and not isinstance(after[0], Sync | Mark)

    def choices(self, many: Many, chance: random.Random) -> Iterator[tuple[int, ...]]:
        """Every combination if there are few enough; else nothing, all, each alone there or missing, some by chance."""
        if math.prod(self.sizes) <= many.all:
            yield from itertools.product(*map(range, self.sizes))
            return
        none, all = (0,) * len(self.sizes), tuple(size - 1 for size in self.sizes)
        alone = []
        for axis, size in enumerate(self.sizes):
            alone += [(*all[:axis], option, *all[axis + 1 :]) for option in range(size - 1)]
            alone += [(*none[:axis], option, *none[axis + 1 :]) for option in range(1, size)]
        yield from (none, all, *chance.sample(alone, min(many.alone, len(alone))))
        for _ in range(many.drawn):
            yield tuple(chance.randrange(size) for size in self.sizes)

    def tree(self, choice: tuple[int, ...]) -> Tree | None:
        """The folder under one choice; None if no file system could leave it so."""
        if (names := self._named(choice)) is None:
            return None
        modes = dict(self.disk.modes)
        for axis, chmod in self._chmods:
            if axis < 0 or choice[len(self.names) + axis]:
                modes[chmod.node] = chmod.mode
        torn = dict(zip(self.torn, choice[len(self.names) + len(self.modes) :], strict=False))
        found: list[tuple[str, bytes | None, int, str]] = []
        first: dict[Node, str] = {}
        ways = [(ROOT, "")]
        for folder, way in ways:
            for name, node in sorted(names[folder].items()):
                path = way + name
                if node in names:
                    found.append((path, None, modes[node], ""))
                    ways.append((node, path + "/"))
                else:
                    data = self._contents.get(node, [b""])[torn.get(node, -1)]
                    found.append((path, data, modes[node], first.setdefault(node, path)))
        return tuple(found)

    def _named(self, choice: tuple[int, ...]) -> Names | None:
        """The names in every folder under one choice; None if that cannot be."""
        names = {node: dict(inside) for node, inside in self._base.items()}
        for axis, entry in self._entries:
            if (axis < 0 or choice[axis]) and not _apply(entry, names):
                return None
        return names

    def missing(self, choice: tuple[int, ...]) -> str:
        """The changes that a choice leaves out, in words."""
        changes = [*self.names, *self.modes]
        lost = [self.disk.notes[one] for one, there in zip(changes, choice, strict=False) if not there]
        for node, option in zip(self.torn, choice[len(changes) :], strict=True):
            if option < len(self._contents[node]) - 1:
                last = max(n for n, one in enumerate(self.disk.operations[: self.at + 1]) if is_of(one, node))
                lost.append(f"the bytes of {self.disk.notes[last]}")
        return "; ".join(lost) or "nothing"


def _apply(entry: Entry, names: Names) -> bool:
    """Let an entry be so; False if that cannot be."""
    here, (source, old) = names[entry.folder], entry.source or (ROOT, "")
    before = here.get(entry.name)
    if entry.node is None:
        here.pop(entry.name, None)
        return True
    if entry.source and names[source].get(old) == entry.node:
        del names[source][old]
    if entry.node in names and entry.source:
        if before is not None and before != entry.node and names.get(before):
            return False
        for inside in names.values():  # where it was moved from before that
            for name in [name for name, node in inside.items() if node == entry.node]:
                del inside[name]
    here[entry.name] = entry.node
    return True
