"""Record what a traced program does to one folder, as operations of the disk model."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bus import files
from tests.crash.disk_model import Disk
from tests.crash.disk_operations import ROOT, Bytes, Entry, Mark, Mode, Node, Sync, is_of, written
from tests.crash.disk_tree import look
from tests.crash.trace import Call, Ended, Refuse, Traced, nothing
from tests.crash.trace_calls import CHANGES, OPENS

Say = Callable[[str], None]
Act = Callable[[Path, Say], None]

_BUS = os.path.dirname(os.path.abspath(files.__file__)) + os.sep
_MARKS = "marks"  # the file beside the recorded folder by which the program says what is done
_F_DUPFD = (0, 1030)  # and F_DUPFD_CLOEXEC
_PLACE = 2000  # bytes; a chain of calls is a few hundred


@dataclass
class Opened:
    """An open file: descriptors that were duplicated share it."""

    node: Node
    offset: int = 0
    append: bool = False


class Recorder:
    """Watches programs work on `folder`, one after another, until each ends or is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.disk = Path(os.path.realpath(folder)), Disk()
        self._prefix = f"{self.folder}{os.sep}"
        self._names: dict[Node, dict[str, Node]] = {ROOT: {}}  # as the running system sees them
        self._opened: dict[int, Opened] = {}
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._place = mmap.mmap(-1, _PLACE)  # shared: where in the bus the traced program is
        self._load()
        self.changes = 0  # operations on names, bytes and modes since the last `record` began
        self.began = 0  # the operation before the first of them

    def _load(self) -> None:
        for path, data, mode, first in look(self.folder):
            folder, name = self._split(f"{self._prefix}{path}")
            node = self._node(f"{self._prefix}{first}") if first and first != path else None
            if node is None:
                node = self.disk.make(data is None, mode)
                if data is None:
                    self._names[node] = {}
                else:
                    self.disk.did(Bytes(node, 0, data), "")
            self._enter(folder, name, node, "")
        self.disk.did(Sync(None, ""), "what was there before")

    def record(self, act: Act, stop: int | None = None, refuse: Refuse = nothing) -> Ended:
        """Let a child do `act` to its end, or kill it dead after its change number `stop` (from 1)."""
        self._opened.clear()
        self.changes, self.began = 0, len(self.disk.operations) - 1
        with Traced(lambda _: self._job(act), refuse) as child:
            for call in child.run():
                if call.result is None:
                    child.describe(call)
                elif call.result >= 0:
                    self._take(call)
                    if self.changes == stop:
                        break
            return child.ended()

    def _job(self, act: Act) -> Callable[[], object]:
        marks = os.open(self.folder.parent / _MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def watch(frame: FrameType, event: str, _: Any) -> None:
            place = frame.f_back if event == "return" else frame
            text = _chain(place).encode()[: _PLACE - 1]
            self._place[: len(text) + 1] = text + b"\0"

        def say(text: str) -> None:
            os.write(marks, text.encode())

        def run() -> None:
            sys.setprofile(watch)
            act(self.folder, say)

        return run

    # -- from system calls to operations ----------------------------------------------------------------------

    def _take(self, call: Call) -> None:
        before = len(self.disk.operations)
        if call.name in OPENS:
            self._open(call)
        elif handle := _HANDLERS.get(call.name):
            handle(self, call)
        elif call.name in CHANGES and any(path.startswith(self._prefix) for path in call.paths):
            raise NotImplementedError(f"{call}: the disk model does not know this call")
        for at, operation in enumerate(self.disk.operations[before:], before):
            if isinstance(operation, Entry | Bytes | Mode):
                self.began = self.began if self.changes else at - 1
                self.changes += 1

    def _split(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition(os.sep)
        parent = self._node(folder)
        assert parent is not None, f"{path}: its folder is not known to the model"
        return parent, name

    def _node(self, path: str) -> Node | None:
        """The node of a path, as the running system sees it; None outside the folder and for what is not there."""
        if path == str(self.folder):
            return ROOT
        if not path.startswith(self._prefix):
            return None
        node: Node | None = ROOT
        for name in path.removeprefix(self._prefix).split(os.sep):
            node = self._names.get(node, {}).get(name) if node is not None else None
        return node

    def _of(self, descriptor: int, path: str) -> Node | None:
        opened = self._opened.get(descriptor)
        return opened.node if opened else self._node(path)

    def _enter(self, folder: Node, name: str, node: Node, note: str, source: tuple[Node, str] | None = None) -> None:
        if source:
            del self._names[source[0]][source[1]]
        self._names[folder][name] = node
        self.disk.did(Entry(folder, name, node, source), note)

    def _inside(self, path: str) -> bool:
        return path.startswith(self._prefix)

    def _open(self, call: Call) -> None:
        path, (flags, mode) = call.paths[0], call.arguments[1:3] if call.name == "open" else call.arguments[2:4]
        self._opened.pop(call.result or 0, None)
        node, note = self._node(path), self._note(call)
        if flags & os.O_TMPFILE == os.O_TMPFILE and node is not None:
            node = self.disk.make(False, mode & ~self._umask)
        elif flags & os.O_CREAT and node is None and self._inside(path):
            node = self.disk.make(False, mode & ~self._umask)
            self._enter(*self._split(path), node, note)
        elif flags & os.O_TRUNC and node is not None:
            self.disk.did(Bytes(node, 0, None), note)
        if node is not None:
            self._opened[call.result or 0] = Opened(node, append=bool(flags & os.O_APPEND))

    def _close(self, call: Call) -> None:
        self._opened.pop(call.arguments[0], None)

    def _dup(self, call: Call) -> None:
        if call.name == "fcntl" and call.arguments[1] not in _F_DUPFD:
            return
        self._opened.pop(call.result or 0, None)
        if opened := self._opened.get(call.arguments[0]):
            self._opened[call.result or 0] = opened

    def _write(self, call: Call) -> None:
        descriptor, data = call.arguments[0], call.data[: call.result]
        assert len(data) == call.result, f"{call}: not all of its bytes were seen"
        if os.path.dirname(call.paths[0]) == str(self.folder.parent) and os.path.basename(call.paths[0]) == _MARKS:
            self.disk.did(Mark(data.decode()), f"said {data.decode()}")
        elif opened := self._opened.get(descriptor):
            at = call.arguments[3] if call.name == "pwrite64" else opened.offset
            if opened.append:
                at = len(written(one for one in self.disk.operations if is_of(one, opened.node)))
            self.disk.did(Bytes(opened.node, at, data), self._note(call))
            opened.offset += len(data) if call.name == "write" else 0
        else:
            assert not self._inside(call.paths[0]), f"{call}: a file that was opened before the recording began"

    def _truncate(self, call: Call) -> None:
        node = self._of(call.arguments[0], call.paths[0]) if call.name == "ftruncate" else self._node(call.paths[0])
        if node is not None:
            self.disk.did(Bytes(node, call.arguments[1], None), self._note(call))

    def _sync(self, call: Call) -> None:
        where = self._place[:].partition(b"\0")[0].decode() or call.name
        if call.name in ("sync", "syncfs"):
            self.disk.did(Sync(None, where), self._note(call))
        elif (node := self._of(call.arguments[0], call.paths[0])) is not None:
            self.disk.did(Sync(node, where), self._note(call))

    def _mkdir(self, call: Call) -> None:
        if self._inside(call.paths[0]):
            mode = call.arguments[1 if call.name == "mkdir" else 2]
            node = self.disk.make(True, mode & 0o7777 & ~self._umask)
            self._names[node] = {}
            self._enter(*self._split(call.paths[0]), node, self._note(call))

    def _remove(self, call: Call) -> None:
        if self._inside(call.paths[0]):
            folder, name = self._split(call.paths[0])
            del self._names[folder][name]
            self.disk.did(Entry(folder, name, None), self._note(call))

    def _rename(self, call: Call) -> None:
        old, new = call.paths
        if self._inside(old) or self._inside(new):
            node = self._node(old)
            assert node is not None and self._inside(new), f"{call}: moves something into or out of the folder"
            self._enter(*self._split(new), node, self._note(call), self._split(old))

    def _link(self, call: Call) -> None:
        old, new = call.paths
        if self._inside(new):
            descriptor = old.rpartition("/fd/")[2]
            node = self._of(int(descriptor), "") if old.startswith("/proc/") else self._node(old)
            assert node is not None, f"{call}: a file that the model does not know"
            self._enter(*self._split(new), node, self._note(call))

    def _chmod(self, call: Call) -> None:
        at = 2 if call.name.startswith("fchmodat") else 1
        node = self._of(call.arguments[0], call.paths[0]) if call.name == "fchmod" else self._node(call.paths[0])
        if node is not None:
            self.disk.did(Mode(node, call.arguments[at] & 0o7777), self._note(call))

    def _note(self, call: Call) -> str:
        """A call as people read it, without the folder that all of this happens in."""
        return str(call).replace(self._prefix, "").partition(" = ")[0]


_HANDLERS: dict[str, Callable[[Recorder, Call], None]] = {
    **dict.fromkeys(["close"], Recorder._close),
    **dict.fromkeys(["dup", "dup2", "dup3", "fcntl"], Recorder._dup),
    **dict.fromkeys(["write", "pwrite64"], Recorder._write),
    **dict.fromkeys(["truncate", "ftruncate"], Recorder._truncate),
    **dict.fromkeys(["fsync", "fdatasync", "sync", "syncfs"], Recorder._sync),
    **dict.fromkeys(["mkdir", "mkdirat"], Recorder._mkdir),
    **dict.fromkeys(["unlink", "unlinkat", "rmdir"], Recorder._remove),
    **dict.fromkeys(["rename", "renameat", "renameat2"], Recorder._rename),
    **dict.fromkeys(["link", "linkat"], Recorder._link),
    **dict.fromkeys(["chmod", "fchmod", "fchmodat", "fchmodat2"], Recorder._chmod),
}


def _chain(frame: FrameType | None) -> str:
    """Where in the bus this is: mailbox.py:128 put_many > files.py:153 publish_many."""
    names: list[str] = []
    while frame is not None:
        name = os.path.basename(frame.f_code.co_filename)
        if frame.f_code.co_filename.startswith(_BUS):
            names.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}")
            if name != "files.py":
                break
        frame = frame.f_back
    return " > ".join(reversed(names))
