"""Read a packed run as if an enemy had made it: every member is checked before anything is extracted."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import _lineage
import _trust
from _archive import MANIFEST
from _staging import draft_folder
from agents._run import MEMORY
from bus import files, schema
from bus.flow import Step
from bus.mailbox import check_id
from bus.run import Run, RunError

STAGING = ".unpack-"  # what an unpacked run is called until it is whole
MAX_MEMBERS = 1_000_000  # a service may hold 100,000 replies; each member costs memory, also in an archive of nothing
MAX_MANIFEST = 1 << 28  # bytes: 256 for each of those
MAX_READ = 1 << 20  # bytes at a time; tarfile reads an extended header whole, as large as the archive says that it is
BLOCK = 1 << 20  # bytes copied at a time
MAX_NAME = 1000  # characters; a path may have 4,095 bytes, and the runs folder needs some of them
MAX_PART = 255  # bytes that a file system allows one name
BROKEN = (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile)


class BadArchive(Exception):
    """An archive that is not unpacked; one line: what, what to do."""


class Refused(BadArchive):
    """An archive that needs --trust: the steps of its run, and all in it that could run code."""

    def __init__(self, steps: list[Step], suspects: dict[str, _trust.Suspect], refused: list[str]) -> None:
        what = f"{refused[0]}{_trust.more(refused)}; all is listed; if you trust who packed it: --trust"
        super().__init__(what)
        self.steps, self.suspects = steps, suspects


class Bounded:
    """A file for tarfile that never gives it much at once."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MAX_READ:
            raise BadArchive(f"a header of {size:,} bytes; no run needs one, so do not trust this file")
        return self.file.read(size)


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive, from its start; what tarfile finds broken raises BadArchive."""
    try:
        with gzip.open(path, "rb") as unzipped:
            bounded: Any = Bounded(unzipped)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield tar
            if len(unzipped.read(MAX_READ)) == MAX_READ:  # to the end, where gzip keeps its own sum
                raise BadArchive("goes on after its end; do not trust this file")
    except BROKEN as error:
        raise BadArchive(f"is cut short, damaged or no .tar.gz ({error}); copy it again") from None


class Unpacked(NamedTuple):
    """A new run: its folder, its steps, what the archive tells of itself, what could run code (left out or kept)."""

    folder: Path
    steps: list[Step]
    manifest: dict[str, Any]
    suspects: dict[str, _trust.Suspect]


def inspect(path: Path, free: int, at: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, _trust.Suspect]]:
    """Check every member of an archive; returns its manifest, and what could run code.

    `free`: bytes that the disk has left.
    """
    seen: dict[str, int] = {}  # file -> bytes
    dangerous: dict[str, str] = {}  # file -> why
    folders: set[str] = set()
    manifest: dict[str, Any] | None = None
    with opened(path) as tar:
        for member in tar:
            at(f"checking {member.name}: {len(seen):,} files so far")
            check_member(member, seen, folders)
            if len(seen) + len(folders) > MAX_MEMBERS:
                raise BadArchive(f"has more than {MAX_MEMBERS:,} members; no run has, so do not trust this file")
            if member.isfile():
                seen[member.name] = member.size
                free -= member.size
            else:
                folders.add(member.name)
            if free < 0:
                raise BadArchive("holds more than the disk has room for; make room, or name another disk with --runs")
            inner = member.name.partition("/")[2]
            if inner == MANIFEST:
                manifest = read_manifest(tar, member)
            elif member.isfile() and (why := _trust.danger(inner, executable(member), head(tar, member))):
                dangerous[inner] = why
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every one
    top = {name.partition("/")[0] for name in [*folders, *seen]}
    if manifest is None:
        raise BadArchive("has no MANIFEST.json, so bin/pack did not make it; unpack it with tar, then see bin/check")
    if top != {manifest["run"]}:
        raise BadArchive(
            f"is said to hold {manifest['run']} alone, but holds {', '.join(sorted(top))}; do not trust it"
        )
    check_names(manifest, seen)
    return manifest, _trust.suspects(dangerous, manifest["files"])


def executable(member: tarfile.TarInfo) -> bool:
    return bool(member.mode & 0o100)


def head(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The first bytes of a regular member."""
    file = tar.extractfile(member)
    assert file is not None, "a regular member, as was checked"
    return file.read(_trust.HEAD)


def check_member(member: tarfile.TarInfo, seen: dict[str, int], folders: set[str]) -> None:
    """Raise BadArchive for a member that a run cannot have, or that could leave its folder."""
    name = member.name
    try:
        files.inside(name)
        tarfile.data_filter(member, "/nowhere")  # the standard library's own judgement, beside ours
    except (files.BadFile, tarfile.TarError) as error:
        raise BadArchive(f"{error}; do not trust this file") from None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
        raise BadArchive(
            f"{name}: is a link or a device; a run holds files and folders alone, so do not trust this file"
        )
    if len(name) > MAX_NAME or any(len(os.fsencode(part)) > MAX_PART for part in name.split("/")):
        raise BadArchive(f"{name[:80]}…: its name is too long for a disk; do not trust this file")
    if name in seen or name in folders:
        raise BadArchive(f"{name}: is there twice; do not trust this file")
    above = name.rpartition("/")[0]
    if (above or member.isfile()) and above not in folders:
        raise BadArchive(f"{name}: comes before its folder, or has none; do not trust this file")


def read_manifest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    if member.size > MAX_MANIFEST:
        raise BadArchive(f"{MANIFEST}: {member.size:,} bytes; no run needs so many, so do not trust this file")
    file = tar.extractfile(member)
    assert file is not None, "a regular member, as was checked"
    data = b"".join(iter(lambda: file.read(BLOCK), b""))
    try:
        document: dict[str, Any] = schema.check(files.parse(data, MANIFEST), "manifest.v1")
    except (files.BadFile, schema.Invalid) as error:
        raise BadArchive(f"{error}; do not trust this file") from None
    return document


def check_names(manifest: dict[str, Any], seen: dict[str, int]) -> None:
    """Raise BadArchive unless the archive holds exactly the manifest's files, each of its size."""
    said = {f"{manifest['run']}/{name}": known["bytes"] for name, known in manifest["files"].items()}
    held = {name: size for name, size in seen.items() if name.partition("/")[2] != MANIFEST}
    if held == said:
        return
    wrong = min(name for name in {*said, *held} if said.get(name) != held.get(name))
    raise BadArchive(
        f"{wrong}: {said_and_held(said.get(wrong), held.get(wrong))}; copy it again, or do not trust this file"
    )


def said_and_held(said: int | None, held: int | None) -> str:
    """How a file differs from what the manifest says of it, in words."""
    if said is None:
        return "was added: MANIFEST.json does not know it"
    return "is missing" if held is None else f"is not as MANIFEST.json says ({held:,} bytes, not {said:,})"


def unpack(path: Path, runs: Path, name: str | None, trust: bool, at: Callable[[str], None]) -> Unpacked:
    """Check and extract an archive to runs/NAME, whole or not at all.

    Without `trust`, what could run code is left out where that only costs time, and elsewhere raises Refused: late, as
    the commands of a run are known when it is proved.
    """
    runs.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    sha256 = files.sha256_file(path)
    manifest, suspects = inspect(path, shutil.disk_usage(runs).free, at)
    target = runs / check_id(name or manifest["run"])
    if os.path.lexists(target) or target.name == MEMORY:
        raise FileExistsError(target)
    with draft_folder(runs, STAGING) as staging:
        extract(path, staging, manifest, frozenset() if trust else frozenset(suspects), trust, at)
        try:
            _lineage.note_unpacked(staging, sha256, manifest["run"])
        except (files.BadFile, schema.Invalid) as error:
            raise BadArchive(f"{_lineage.LINEAGE}: {error}; do not trust this file") from None
        steps = checked_steps(staging)
        if refused := [str(one) for name, one in suspects.items() if not trust and not _trust.in_work(name)]:
            raise Refused(steps, suspects, refused)  # such as in a reply, where a run has no such thing
        files.sync_tree(staging)
        os.rename(staging, target)  # fails on a run that appeared meanwhile: it is not empty
        files.fsync(runs)
    return Unpacked(target, steps, manifest, suspects)


def checked_steps(folder: Path) -> list[Step]:
    """The steps of a run; raises BadArchive unless the folder can be opened as one."""
    try:
        return Run(folder).steps  # no mailbox is opened, so there is nothing to close
    except (RunError, files.BadFile) as error:
        raise BadArchive(f"holds no run that can be opened ({error}); do not trust it") from None


def extract(
    path: Path,
    staging: Path,
    manifest: dict[str, Any],
    left_out: frozenset[str],
    modes: bool,
    at: Callable[[str], None],
) -> None:
    """Write every member below `staging`, its hash proved; raises BadArchive where one is not as it was checked.

    What lies in `left_out` is not written. `modes`: whether a file that was executable is so here, too.
    """
    left = dict(manifest["files"])
    seen: dict[str, int] = {}
    folders: set[str] = set()
    with opened(path) as tar:
        for member in tar:
            check_member(member, seen, folders)  # again: the file may be another by now
            folders.add(member.name) if member.isdir() else seen.update({member.name: member.size})
            inner = member.name.partition("/")[2]
            at(f"unpacking {inner}: {len(left):,} files to go")
            if _trust.unit(inner) in left_out:
                left.pop(inner, None)
            elif member.isdir():
                (staging / inner).mkdir(exist_ok=not inner)
            elif inner != MANIFEST:
                if (known := left.pop(inner, None)) is None:
                    raise BadArchive(f"{inner}: is new since it was checked; copy the file again")
                mode = 0o755 if modes and executable(member) else 0o644
                if copied(tar, member, staging / inner, mode) != known["sha256"]:
                    raise BadArchive(f"{inner}: is not as MANIFEST.json says (sha256); copy the file again")
            tar.members.clear()  # type: ignore[attr-defined]
    if left:
        raise BadArchive(f"{min(left)}: is gone since it was checked; copy the file again")


def copied(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, mode: int) -> str:
    """Write one member to a new file; returns its sha256."""
    digest = hashlib.sha256()
    source = tar.extractfile(member)
    assert source is not None, "a regular member, as was checked"
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        while block := source.read(BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
