"""The calls that the bus stands on, one by one and raced from both clients."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.sharedfs.children import Racer
from tests.sharedfs.filesystem import HOSTS, FileSystem
from tests.sharedfs.row import DRAFTS, RACED, Row

ROUNDS = 100  # of each race; every one of them is a collision
REPLY = ("answer.txt", "reply.json")
NOBODY = "nobody"


def run(fs: FileSystem) -> Iterator[Row]:
    here = fs.folder / "A" / "looks"
    here.mkdir()
    yield _drafts(here)
    links, renames = race(fs, _linker, _read_file), race(fs, _renamer, _read_folder)
    broken = links.broken or renames.broken
    cell = "both win" if broken else f"one wins; the other gets {links.said()}, {renames.said()}"
    what = f"link of a file, rename of a full folder: {ROUNDS} times each, by A and B at once"
    yield Row(RACED, cell, f"{what}; the losers got {links}; {renames}", broken)


def _drafts(here: Path) -> Row:
    nameless = _errno(lambda: os.close(os.open(here, os.O_TMPFILE | os.O_RDWR)))
    (here / "one").write_bytes(b"1")
    link = _errno(lambda: os.link(here / "one", here / "two"))
    again = _errno(lambda: os.link(here / "one", here / "two"))
    count = os.stat(here / "one").st_nlink
    for name in ("out", "full"):
        (here / name).mkdir()
        (here / name / "reply.json").write_bytes(name.encode())
    onto = _errno(lambda: os.rename(here / "out", here / "full"))
    whole = (here / "full" / "reply.json").read_bytes() == b"full"
    folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    lists = [len(os.listdir(folder)) for _ in range(2)]
    os.close(folder)
    detail = (
        f"O_TMPFILE: {nameless or 'yes'}; link: {link or 'yes'} (the file then counts {count} names), onto a name: "
        f"{again or 'REPLACED IT'}; rename of a folder onto a full one: {onto or 'REPLACED IT'}; "
        f"one open folder listed twice: {lists[0]} names, then {lists[1]}"
    )
    broken = "" if again and onto and whole else f"an existing name was replaced: {detail}"
    return Row(DRAFTS, f"{'no' if nameless else 'yes'} / {'no' if link else 'yes'}", detail, broken)


def _errno(call: Callable[[], object]) -> str:
    try:
        call()
        return ""
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))


@dataclass
class Race:
    """What the losers got, and how a round went wrong."""

    losers: Counter[str]
    broken: str = ""

    def said(self) -> str:
        return "/".join(sorted(self.losers)) or "nothing"

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.losers.most_common())


def race(fs: FileSystem, job: Callable[[Path, str, int], Callable[[], object]], read: Callable[[Path], str]) -> Race:
    """Both clients publish one name at once; exactly one may win each round, and what is there must be its own."""
    result = Race(Counter())
    points = {host: fs.folder / host / "looks" for host in HOSTS}
    racers = {host: Racer(partial(job, points[host], host)) for host in HOSTS}
    try:
        for number in range(ROUNDS):
            if any(one.answer() != "ready" for one in racers.values()):
                raise RuntimeError(f"{fs.name}: a racer could not prepare; see its traceback above")
            for one in racers.values():
                one.go()
            answers = {host: one.answer() for host, one in racers.items()}
            won = [host for host, answer in answers.items() if answer == "won"]
            found = {read(point / f"{job.__name__}-{number}") for point in points.values()}
            if len(won) != 1 or found != set(won):
                result.broken = f"{job.__name__} {number}: {answers}, and the name holds what {sorted(found)} wrote"
                return result
            result.losers.update(answer for answer in answers.values() if answer != "won")
    finally:
        for one in racers.values():
            one.end()
    return result


def _linker(point: Path, host: str, number: int) -> Callable[[], object]:
    draft = point / f".draft-{host}-{number}"
    draft.write_text(host)
    return lambda: os.link(draft, point / f"_linker-{number}", follow_symlinks=False)


def _renamer(point: Path, host: str, number: int) -> Callable[[], object]:
    draft = point / f".out-{host}-{number}"
    draft.mkdir()
    for name in REPLY:
        (draft / name).write_text(host)
    return lambda: os.rename(draft, point / f"_renamer-{number}")


def _read_file(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return NOBODY


def _read_folder(path: Path) -> str:
    """Who wrote the folder: all of it."""
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return NOBODY
    hosts = {_read_file(path / name) for name in names}
    return hosts.pop() if names == list(REPLY) and len(hosts) == 1 else f"a mixture: {names}, {sorted(hosts)}"
