"""What MCP clients may see and ask of the runs: which there are, how they stand, a reply's artifact, one more request.

Names come from another's program. So a run is one by its name alone, a path is walked from folder to folder with no
link followed, and what is not a goal, a reply or a dead letter is not read at all: config/, keys, work, model calls.
Who reads the exam could teach it, so whatever says what it asks or what must not be taught is sealed, by its schema and
by its name; of the report the answers side by side are left out.
"""

from __future__ import annotations

import _start

import contextlib
import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _look import document, rows, run_state
from _secrets import LONGEST, found_in
from _tell import Trouble, find_mailbox, open_run
from agents.pages.story import SIDE_BY_SIDE
from bus import files, flow, schema
from bus.mailbox import Conflict
from bus.run import FOREVER, Run

MAX_RUNS = 200  # that are listed, by name: each is looked into
MAX_NAMES = 500  # of a folder
PIECE = 32 * 1024  # bytes of an artifact in one answer: some 10,000 tokens, and clients cut off at 25,000
NAME = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")  # as bus.mailbox has IDs
# Questions of the exam and of validation, all examples, of which 20% are never taught, and what was said of them.
SEALED_KINDS = frozenset({"item.v1", "answer.v1", "example.v1", "dropped.v1", "judged.v1"})
SEALED = frozenset("exam.jsonl validation.jsonl answers.jsonl dropped.jsonl left_out.jsonl judged.jsonl".split())
PAGE = "report.html"  # it has all that report.md has
PAIRS, LEFT_OUT = f"## {SIDE_BY_SIDE}", ["", "Left out here: the exam is sealed.", ""]
FENCE = re.compile(r"`{3,}")
READABLE = "goal.md, STEP/outbox/rN/NAME and STEP/dead/rN.json"


class Runs:
    """The runs in one folder; its methods without a leading _ are the tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_runs(self) -> dict[str, Any]:
        """The runs that there are: {runs: [{run, state, rounds}]}. States are those of `status`, or `damaged`."""
        return {"runs": [self._told(name) for name in self._names()[:MAX_RUNS]]}

    def status(self, run: str) -> dict[str, Any]:
        """How a run stands: each step's requests with state, tries, seconds and dollars; its spending and verdict."""
        with self._opened(run) as opened:
            return document(opened)

    def read_artifact(self, run: str, path: str, offset: int = 0) -> dict[str, Any]:
        """Read goal.md, a file of a step's reply (70-report/outbox/r1/report.md) or its folder, or a dead letter.

        Returns {path, bytes, text, next}: up to 32 KiB of text from `offset` on; `next` is the offset to go on at,
        null at the end. Of a folder {path, names}. The exam is sealed, and with it all examples.
        """
        with self._opened(run) as opened:
            parts = _allowed(opened, path)
            if (names := _folder(opened.folder, parts)) is not None:
                return {"path": path, "names": names}
            _unsealed(opened, path, parts)
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

    def _told(self, name: str) -> dict[str, Any]:
        """One run's line; of one that cannot be read why, so that the others are told all the same."""
        try:
            with self._opened(name) as run:
                rounds = "forever" if run.rounds >= FOREVER else run.rounds
                return {"run": name, "state": run_state(run, rows(run)), "rounds": rounds}
        except (Trouble, files.BadFile, schema.Invalid, OSError) as error:
            why = str(getattr(error, "message", error)).replace(f"{self.folder}/", "")
            return {"run": name, "state": "damaged", "rounds": None, "why": why}

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
    return parts


def _unsealed(run: Run, path: str, parts: list[str]) -> None:
    """Raise Trouble for an artifact that says what the exam asks, or what is kept from being taught."""
    name, kinds = "/".join(parts[3:]), run.step(parts[0]).writes if len(parts) > 3 else {}
    kind = next((kinds[pattern] for pattern in kinds if fnmatch.fnmatchcase(name, pattern)), None)
    if parts[-1] == PAGE:
        raise Trouble("mcp", f"{path}: holds questions of the exam, which is sealed; read report.md beside it")
    if parts[-1] in SEALED or kind in SEALED_KINDS:
        raise Trouble("mcp", f"{path}: holds text of the exam, which is sealed: a model could be taught it")


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
    start = max(0, offset)
    with _walked(root, parts[:-1]) as folder:
        size, data, near = _read(parts[-1], folder, start)
    if b"\0" in data:
        raise Trouble("mcp", f"{'/'.join(parts)}: is no text ({size:,} bytes)")
    if secrets := found_in(near):
        raise Trouble("mcp", f"{'/'.join(parts)}: {secrets[0]}; see bin/check")
    if start + len(data) < size:
        data = data[: len(data) - _torn(data)]
    after = start + len(data)
    return {"bytes": size, "text": data.decode("utf-8", "replace"), "next": after if after < size else None}


def _read(name: str, folder: int, start: int) -> tuple[int, bytes, bytes]:
    """(bytes of a file, a piece of it, the piece with its surroundings); a Markdown page is without the exam's pairs.

    The surroundings are there so that a key which two pieces share is found in both.
    """
    if name.endswith(".md"):
        text = _without_pairs(files.read_bytes(name, dir_fd=folder).decode("utf-8", "replace")).encode()
        return len(text), text[start : start + PIECE], text[max(0, start - LONGEST) : start + PIECE + LONGEST]
    descriptor = files.open_regular(name, folder)
    try:
        near = os.pread(descriptor, PIECE + 2 * LONGEST, max(0, start - LONGEST))
        return os.fstat(descriptor).st_size, os.pread(descriptor, PIECE, start), near
    finally:
        os.close(descriptor)


def _without_pairs(text: str) -> str:
    """A page without the section that quotes the exam; what stands in fences there is an answer, and no heading."""
    kept, inside, fence = [], False, ""
    for line in text.split("\n"):
        if not fence and line.startswith("## "):
            inside = line == PAIRS
            kept += [line, *(LEFT_OUT if inside else [])]
        elif not inside:
            kept.append(line)
        if mark := FENCE.match(line):
            fence = "" if line == fence else fence or mark[0]
    return "\n".join(kept)


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
