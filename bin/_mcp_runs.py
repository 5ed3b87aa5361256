"""What MCP clients may see and ask of the runs: which there are, how they stand, a reply's artifact, one more request.

Names come from another's program. So a run is one by its name alone, a path is walked from folder to folder with no
link followed, and what is not a goal, a reply or a dead letter is not read at all: config/, keys, work, model calls.
"""

from __future__ import annotations

import _start

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _look import document, rows, run_state
from _secrets import LONGEST, found_in
from _tell import Trouble, find_mailbox, open_run
from bus import files, flow
from bus.mailbox import Conflict
from bus.run import FOREVER, Run

MAX_RUNS = 200  # that are listed, by name: each is looked into
MAX_NAMES = 500  # of a folder
PIECE = 32 * 1024  # bytes of an artifact in one answer: some 10,000 tokens, and clients cut off at 25,000
NAME = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")  # as bus.mailbox has IDs
SEALED = frozenset({"exam.jsonl", "answers.jsonl"})  # who reads the exam's questions could teach them
READABLE = "goal.md, STEP/outbox/rN/NAME and STEP/dead/rN.json"


class Runs:
    """The runs in one folder; its methods without a leading _ are the tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_runs(self) -> dict[str, Any]:
        """The runs that there are: {runs: [{run, state, rounds}]}. States are those of `status`."""
        found = []
        for name in self._names()[:MAX_RUNS]:
            with self._opened(name) as run:
                rounds = "forever" if run.rounds >= FOREVER else run.rounds
                found.append({"run": name, "state": run_state(run, rows(run)), "rounds": rounds})
        return {"runs": found}

    def status(self, run: str) -> dict[str, Any]:
        """How a run stands: each step's requests with state, tries, seconds and dollars; its spending and verdict."""
        with self._opened(run) as opened:
            return document(opened)

    def read_artifact(self, run: str, path: str, offset: int = 0) -> dict[str, Any]:
        """Read goal.md, a file of a step's reply (70-report/outbox/r1/report.md) or its folder, or a dead letter.

        Returns {path, bytes, text, next}: up to 32 KiB of text from `offset` on; `next` is the offset to go on at,
        null at the end. Of a folder {path, names}. The exam's questions are sealed.
        """
        with self._opened(run) as opened:
            parts = _allowed(opened, path)
            if (names := _folder(opened.folder, parts)) is not None:
                return {"path": path, "names": names}
            return {"path": path, **_piece(opened.folder, parts, offset)}

    def ask(self, run: str, step: str, round: int) -> dict[str, Any]:
        """Put the request of a round (from 1) into a step's mailbox; its agent answers when it is served.

        Returns {id, new, state}. The same again asks nothing twice. Read the reply with read_artifact.
        """
        with self._opened(run) as opened:
            box = find_mailbox("mcp", opened, step)
            if not box.folders:
                raise Trouble("mcp", f"{step}: is a service; steps can be asked here, services with bin/put")
            if not 1 <= round <= opened.rounds:
                raise Trouble("mcp", f"round {round}: {opened.rounds} wanted; raise it in the file ROUNDS")
            request = flow.request(opened.step(step), round)
            try:
                new = box.put(request["id"], request)
            except Conflict as error:
                raise Trouble("mcp", str(error)) from None
            return {"id": request["id"], "new": new, "state": box.state(request["id"]) or "waiting"}

    def _names(self) -> list[str]:
        """Runs by name; a link to one is none."""
        if not self.folder.is_dir():
            return []
        found = [path.name for path in self.folder.iterdir() if NAME.fullmatch(path.name) and not path.is_symlink()]
        return sorted(name for name in found if (self.folder / name / "run.json").is_file())

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[Run]:
        if name not in (there := self._names()):
            raise Trouble("mcp", f"{name[:100]!r}: is no run; there are {', '.join(there[:MAX_RUNS]) or 'none yet'}")
        with contextlib.closing(open_run("mcp", str(self.folder / name))) as run:
            yield run


def _allowed(run: Run, path: str) -> list[str]:
    """The parts of a path that may be read; raises Trouble."""
    parts = files.inside(path).split("/")
    steps = [step.name for step in run.steps]
    boxed = len(parts) > 2 and parts[0] in steps and parts[1] in ("outbox", "dead")
    if not (parts == ["goal.md"] or boxed) or any(part.startswith(".") for part in parts):
        raise Trouble("mcp", f"{path}: cannot be read here; what can: {READABLE}, of the steps {', '.join(steps)}")
    if parts[-1] in SEALED:
        raise Trouble("mcp", f"{path}: holds the exam's questions, which are sealed: a model could be taught them")
    return parts


@contextlib.contextmanager
def _walked(root: Path, parts: list[str]) -> Iterator[int]:
    """A descriptor of the folder that these names lead to, no link followed."""
    with contextlib.ExitStack() as stack:
        descriptor = os.open(root, files.FOLDER)
        stack.callback(os.close, descriptor)
        for part in parts:
            descriptor = os.open(part, files.FOLDER, dir_fd=descriptor)
            stack.callback(os.close, descriptor)
        yield descriptor


def _folder(root: Path, parts: list[str]) -> list[str] | None:
    """What a folder holds, or None for what is none."""
    with contextlib.suppress(NotADirectoryError), _walked(root, parts) as descriptor:
        return sorted(files.names(descriptor))[:MAX_NAMES]
    return None


def _piece(root: Path, parts: list[str], offset: int) -> dict[str, Any]:
    """A piece of a text file from an offset on, cut between two characters."""
    with _walked(root, parts[:-1]) as folder:
        descriptor = files.open_regular(parts[-1], folder)
        try:
            size, start = os.fstat(descriptor).st_size, max(0, offset)
            data = os.pread(descriptor, PIECE, start)
            # Read with its surroundings, so that a key which two pieces share is found in both.
            near = os.pread(descriptor, PIECE + 2 * LONGEST, max(0, start - LONGEST))
        finally:
            os.close(descriptor)
    if b"\0" in data:
        raise Trouble("mcp", f"{'/'.join(parts)}: is no text ({size:,} bytes)")
    if secrets := found_in(near):
        raise Trouble("mcp", f"{'/'.join(parts)}: {secrets[0]}; see bin/check")
    if start + len(data) < size:
        data = data[: len(data) - _torn(data)]
    after = start + len(data)
    return {"bytes": size, "text": data.decode("utf-8", "replace"), "next": after if after < size else None}


def _torn(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character that goes on after them."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:  # the first of several
            wanted = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return back if back < wanted else 0
        if byte < 0x80:
            break
    return 0
