"""A real small disk: a tmpfs in a mount namespace of its own, which fills up, runs out of names, or turns read-only.

python -m tests.crash.trace_small FOLDER SEED QUICK     inside that namespace; prints the rows as JSON lines
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any

from bus.tries import DEATHS
from tests.crash import trace_check, trace_run
from tests.crash.row import Row
from tests.crash.trace_disk import ENDS, trial
from tests.crash.trace_jobs import Kind, Scene, begin
from tests.crash.trace_subject import Subject, of_kind
from tests.processes import environment

PAGE = 4096  # what a tmpfs counts in
PAGES = range(9)  # left free: no job needs more
NAMES = (0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 40)  # left free: a new run needs the most
SIZE, INODES = "1m", 400
LARGE = 1200 * 1024  # bytes of an artifact for which there is room only later
FULL = (
    "a disk that is full, in bytes or in names, fails loudly, counts no try and loses nothing; with room, all is done"
)
LATER = "an artifact that does not fit waits for room, however often it is tried, and keeps none of the room meanwhile"
READ_ONLY = "a disk that turns read-only fails loudly and loses nothing; mounted well again, the same calls work"
Squeeze = Callable[[int], contextlib.AbstractContextManager[bool]]


def rows(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    """Start this module where a tmpfs may be mounted."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size={SIZE},nr_inodes={INODES},mode=700 tmpfs "$0" && exec "$@"'
    work = [sys.executable, "-m", "tests.crash.trace_small", str(folder), str(seed), str(int(quick))]
    why = "there is no unshare (util-linux)"
    for user in (["--user", "--map-root-user"], []):
        argv = ["unshare", *user, "--mount", "sh", "-c", script, str(folder)]
        with contextlib.suppress(FileNotFoundError):
            if (probe := subprocess.run([*argv, "true"], capture_output=True, text=True)).returncode:
                why = (probe.stderr.strip().splitlines() or ["it ended without a word"])[-1]
                continue
            ended = subprocess.run([*argv, *work], env=environment(), capture_output=True, text=True, check=False)
            if ended.returncode:
                raise AssertionError(ended.stderr)
            yield from (Row(**json.loads(line)) for line in ended.stdout.splitlines())
            return
    for promise in (FULL, LATER, READ_ONLY):
        yield Row(promise, f"not tried: nobody may mount a tmpfs here: {why}")


class Disk:
    """The tmpfs at a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def pages(self, free: int) -> Iterator[bool]:
        """Fill it until so many pages are free."""
        status = os.statvfs(self.folder)
        with open(filler := self.folder / "filler", "wb") as file:
            file.write(bytes(PAGE) * (status.f_bavail * status.f_frsize // PAGE - free))
        yield True
        filler.unlink()

    @contextlib.contextmanager
    def names(self, free: int) -> Iterator[bool]:
        """Fill it until so many inodes are free."""
        (filler := self.folder / "filler").mkdir()
        for number in range(os.statvfs(self.folder).f_ffree - free):
            (filler / str(number)).touch()
        yield True
        rmtree(filler)

    @contextlib.contextmanager
    def read_only(self, _: int) -> Iterator[bool]:
        """Mount it read-only; False if the kernel refuses, because a file is open for writing."""
        may = self.remount("ro") == 0
        yield may
        assert self.remount("rw") == 0

    def remount(self, how: str) -> int:
        argv = ["mount", "-o", f"remount,{how}", str(self.folder)]
        return subprocess.run(argv, capture_output=True).returncode


class Small:
    """Jobs on a disk that is squeezed just before them, and well again just after."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.tried, self.told, self.busy = disk, 0, 0, 0
        self.broken: list[str] = []

    def squeeze(self, subject: Subject, name: str, squeeze: Squeeze, level: int, code: int) -> None:
        folder = self.disk.folder / "work"
        notes: list[Any] = []
        folder.mkdir()
        act, after = trial(subject, folder, name)(notes.append)  # type: ignore[misc]
        with squeeze(level) as squeezed:
            act()
        after()
        *noted, report = notes
        self.tried, self.busy = self.tried + squeezed, self.busy + (not squeezed)
        self.told += bool(report["errno"])
        if why := self.judge(subject, name, folder, frozenset(noted), report, code):
            self.broken.append(f"{name} ({subject.label}), {squeeze.__name__} at {level}: {why}")
        rmtree(folder)

    def judge(self, subject: Subject, name: str, folder: Path, notes: frozenset[str], report: dict, code: int) -> str:
        got, text = report["errno"], report["text"]
        if got and (got != code or os.strerror(code) not in text):
            return f"the caller gets: {text}"
        if got and code == errno.ENOSPC and name not in ENDS and report["bad tries"] > 0:
            return "a full disk counts as a failed try"
        return report["wrong"] or subject.look(folder, name, notes) or subject.finish(folder, name, notes)

    def row(self, promise: str, tried: str) -> Row:
        more = f" (and {len(self.broken) - 1:,} more)" if len(self.broken) > 1 else ""
        return Row(promise, tried, self.broken[0] + more if self.broken else "")


def large(disk: Disk) -> Row:
    """A step whose artifact does not fit, until the disk is made larger."""
    kind, folder, tries = Kind(True, True), disk.folder / "large", DEATHS + 2
    folder.mkdir()
    ids = [f"r{number}" for number in range(1, 2 + tries)]
    with contextlib.closing(Scene(kind, folder, lambda value: None)) as scene:
        scene.put("r1")
        why = next((why for id in ids[1:] if (why := _too_large(scene, id))), "")
        state = scene.box.state("r1")
    disk.remount("size=8m")
    why = why or trace_check.finish(kind, folder, ids, may_die=False)
    return Row(
        LATER, f"{tries} tries at {LARGE:,} bytes on {SIZE}, each followed by a put; then room; r1 was {state}", why
    )


def _too_large(scene: Scene, another: str) -> str:
    """Try r1 once; another request must find room right after it."""
    claim = begin(scene.take() or scene.held())
    try:
        (claim.folder or claim.work).joinpath("out/large").write_bytes(bytes(LARGE))
        return "a file larger than the disk was written"
    except OSError as error:
        told = {"kind": "disk", "message": str(error), "where": "tests"}
    try:
        claim.fail(told)
        scene.put(another)
    except OSError as error:
        return f"a try that found no room leaves none: {another}: {error}"
    return ""


def main(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    disk, chance = Disk(folder), random.Random(seed)
    subjects = [of_kind(Kind(True, True)), of_kind(Kind(False, True)), trace_run.subject()]
    small = Small(disk)
    for subject in subjects:
        for name in subject.jobs:
            for squeeze, levels in ((disk.pages, PAGES), (disk.names, NAMES)):
                for level in [chance.choice(levels)] if quick else levels:
                    small.squeeze(subject, name, squeeze, level, errno.ENOSPC)
    tried = f"a tmpfs of {SIZE} and {INODES} names, 0 to {max(PAGES)} pages or 0 to {max(NAMES)} names left: "
    yield small.row(FULL, f"{tried}{small.tried} jobs, {small.told} told ENOSPC, the others found room or waited")
    small = Small(disk)
    for subject in subjects:
        for name in subject.jobs:
            small.squeeze(subject, name, disk.read_only, 0, errno.EROFS)
    tried = f"mount -o remount,ro: {small.tried} jobs, {small.told} told EROFS, the others needed no writing"
    yield small.row(READ_ONLY, f"{tried}; {small.busy} more hold a claim, and so the kernel refuses to remount")
    yield large(disk)


if __name__ == "__main__":
    for row in main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"):
        print(json.dumps(asdict(row)), flush=True)
