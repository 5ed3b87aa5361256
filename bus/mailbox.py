"""A mailbox: a folder with `inbox/ work/ outbox/ dead/`, and the protocol that makes it lose nothing.

    put      inbox/ID.json appears whole; asking twice is asking once
    claim    the kernel's lock on inbox/ID.json, held in place; it ends with its holder, whatever kills it
    commit   outbox/ID appears by one rename (a step) or one link (a service); then the request goes
    fail     work/ID/try-N/crash.json; too many, and dead/ID.json says why

What a listing means, first match wins: a reply -> done, dead/ID.json -> dead, lock held -> running, request
and HOLD -> held, request with a failed try -> failed, request -> waiting. There is no other state.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bus import files, schema, tries
from bus.claim import Claim
from bus.files import BadFile

ID = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")
PARTS = ("inbox", "work", "outbox", "dead")
MAX_REQUEST = 16 * 1024 * 1024  # bytes; larger input belongs in an artifact that the request names
SETTLE_S = 1.0  # an unparsable request must stay unchanged this long before it is dead: `cp` may still be writing it
HOLDING = ".holding-"  # one hidden file per serving process: the ID that it works on, so that a death leaves a trace
_HOLDING_BYTES = 101  # an ID and a newline
_REFUSED = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM)

State = Literal["done", "dead", "running", "held", "failed", "waiting"]


class Conflict(Exception):
    """The same ID was asked or answered before with other content; the text names both."""


def check_id(id: str) -> str:
    if not ID.fullmatch(id):
        raise BadFile(f"{id[:120]!r}: not an ID; IDs are 1 to 100 of a-z 0-9 _ - and begin with a letter or digit")
    return id


def order(id: str) -> tuple[int, str]:
    """The order of IDs: r2 before r10."""
    return len(id), id


@dataclass(frozen=True)
class Listing:
    """The names in one mailbox at one look; the inbox is read first, so a request that moves on is never missed."""

    requests: frozenset[str]
    replies: frozenset[str]
    dead: frozenset[str]
    strange: frozenset[str]  # names in the inbox that are no ID.json

    @property
    def pending(self) -> list[str]:
        return sorted(self.requests - self.replies - self.dead, key=order)


class Mailbox:
    """One mailbox, for askers and for the agent that serves it.

    `folders`: replies are folders with artifacts (a step) rather than single files (a service).
    `hold`: a path that, while it exists, keeps anything new from being claimed.
    `tries`: how many failures a request may have before it is dead. `durable`: fsync before answering.
    """

    def __init__(
        self,
        folder: Path,
        *,
        folders: bool = True,
        request: str | None = "request.v1",
        reply: str | None = "reply.v1",
        tries: int = 3,
        hold: Path | None = None,
        durable: bool = True,
    ) -> None:
        self.folder, self.name, self.folders, self.durable = Path(folder), Path(folder).name, folders, durable
        self.request_schema, self.reply_schema, self.tries, self.hold = request, reply, tries, hold
        for part in PARTS:
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.inbox_fd, self.outbox_fd, self.dead_fd = (
            os.open(self.folder / part, flags) for part in ("inbox", "outbox", "dead")
        )
        self._not_before: dict[str, float] = {}  # ID -> this process's monotonic clock
        self._torn: dict[str, tuple[str, float]] = {}  # ID -> hash of its unparsable bytes, when first seen
        self._holding: int | None = None

    def close(self) -> None:
        for descriptor in (self.inbox_fd, self.outbox_fd, self.dead_fd, self._holding):
            if descriptor is not None:
                os.close(descriptor)
        self.inbox_fd = self.outbox_fd = self.dead_fd = -1
        self._holding = None

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- asking ---------------------------------------------------------------------------------------------

    def put(self, id: str, document: dict[str, Any]) -> bool:
        """Ask. True if the request is new, False if the same was asked before; Conflict if something else was."""
        check_id(id)
        if self.request_schema:
            schema.check(document, self.request_schema)
        data = files.canonical(document)
        if (known := self.answered_hash(id)) is not None:
            self._same(id, known, files.sha256(data), "a reply")
            return self._relied_on(self.outbox_fd)
        try:
            files.publish(self.inbox_fd, f"{id}.json", data, self.durable)
            return True
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):  # it was answered, and so removed, while we looked
                before = files.read_bytes(f"{id}.json", MAX_REQUEST, self.inbox_fd)
                self._same(id, files.sha256(before), files.sha256(data), "a request")
            return self._relied_on(self.inbox_fd)

    def _same(self, id: str, before: str, now: str, what: str) -> None:
        if before != now:
            raise Conflict(
                f"{self.name}: {id}: {what} for other content is there (sha256 {before[:12]}, not {now[:12]}); "
                "give the new question another ID"
            )

    def _relied_on(self, folder_fd: int) -> bool:
        if self.durable:
            os.fsync(folder_fd)
        return False

    # -- looking --------------------------------------------------------------------------------------------

    def listing(self) -> Listing:
        """What is here now: one pass over inbox/, then outbox/, then dead/."""
        requests, strange = set(), set()
        for name in os.listdir(self.inbox_fd):
            if name.endswith(".json") and ID.fullmatch(name[:-5]):
                requests.add(name[:-5])
            elif not name.startswith("."):
                strange.add(name)
        replies = {name for name in map(self._reply_id, os.listdir(self.outbox_fd)) if name}
        dead = {name[:-5] for name in os.listdir(self.dead_fd) if name.endswith(".json")}
        return Listing(frozenset(requests), frozenset(replies), frozenset(dead), frozenset(strange))

    def _reply_id(self, name: str) -> str | None:
        id = name if self.folders else name.removesuffix(".json")
        return id if ID.fullmatch(id) and (self.folders or name.endswith(".json")) else None

    def state(self, id: str) -> State | None:
        """The state of one ID (DESIGN of a listing), or None where nothing is known of it."""
        if self.answered(id):
            return "done"
        if self.is_dead(id):
            return "dead"
        if not _exists(f"{id}.json", self.inbox_fd):
            return "done" if self.answered(id) else None
        if files.is_locked(f"{id}.json", self.inbox_fd):
            return "running"
        if self.hold and self.hold.exists():
            return "held"
        return "failed" if any(one.failed or one.died or one.waits for one in self.history(id)) else "waiting"

    def answered(self, id: str) -> bool:
        return _exists(f"{id}/reply.json" if self.folders else f"{id}.json", self.outbox_fd)

    def is_dead(self, id: str) -> bool:
        return _exists(f"{id}.json", self.dead_fd)

    def reply(self, id: str) -> dict[str, Any] | None:
        """The reply's document, checked against its schema, or None; raises BadFile or Invalid if it is damaged."""
        check_id(id)
        try:
            if self.folders:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                folder = os.open(id, flags, dir_fd=self.outbox_fd)
                try:
                    data = files.read_bytes("reply.json", files.MAX_DOCUMENT, folder)
                finally:
                    os.close(folder)
            else:
                data = files.read_bytes(f"{id}.json", files.MAX_DOCUMENT, self.outbox_fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        document = files.parse(data, f"{self.name}/outbox/{id}")
        return schema.check(document, self.reply_schema) if self.reply_schema else document

    def answered_hash(self, id: str) -> str | None:
        """The sha256 of the request that was answered under this ID, or None where there is no reply."""
        if not self.answered(id):
            return None
        return (self.reply(id) or {}).get("request_sha256")

    def history(self, id: str) -> list[tries.Try]:
        return tries.history(self.work(id))

    def work(self, id: str) -> Path:
        return self.folder / "work" / check_id(id)

    # -- serving --------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Call once before claiming: find what an agent of this mailbox held when it died, and open our own mark."""
        for entry in sorted(os.listdir(self.folder / "work")):
            if entry.startswith(HOLDING):
                self._note_death(self.folder / "work" / entry)
        if not self.folders and self._holding is None:
            path = self.folder / "work" / f"{HOLDING}{os.urandom(6).hex()}"
            self._holding = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            files.lock(self._holding)

    def _note_death(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError), open(path, "r+b", buffering=0) as mark:
            if not files.lock(mark.fileno()):
                return  # a living agent's
            id = mark.read(_HOLDING_BYTES).decode("ascii", "replace").partition("\n")[0].strip("\0")
            if ID.fullmatch(id) and _exists(f"{id}.json", self.inbox_fd) and not self.answered(id):
                tries.begin(self.work(id))  # a try with no crash.json is a death
            path.unlink()

    def mark(self, id: str) -> None:
        """Note the ID that is worked on (empty: none): one small write, so that a service needs no folder a message."""
        if self._holding is not None:
            os.pwrite(self._holding, id.encode().ljust(_HOLDING_BYTES, b"\n"), 0)

    def claims(self, listing: Listing | None = None) -> Iterator[Claim]:
        """Claim what can be claimed, one after another, in order: list once and drain. The caller ends each claim."""
        listing = listing or self.listing()
        for name in sorted(listing.strange):
            bad = f"bad-{files.sha256(name.encode('utf-8', 'surrogateescape'))[:16]}"
            if bad not in listing.dead:
                self.bury(bad, "name", f"inbox/{name[:200]!r}: not ID.json; IDs are 1 to 100 of a-z 0-9 _ -")
        for id in sorted(listing.requests - listing.dead, key=order):  # an answered one is cleaned up on the way
            if (claim := self.claim(id)) is not None:
                yield claim

    def claim(self, id: str) -> Claim | None:
        """Take the lock on a request; None if it is held, gone, answered, dead, put off, or not (yet) readable."""
        if self._not_before.get(id, 0.0) > time.monotonic():
            return None
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(f"{id}.json", flags, dir_fd=self.inbox_fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self.bury(id, "file", f"inbox/{id}.json: {_why(error)}")
            return None
        claim = None
        try:
            claim = self._claim_open(id, descriptor)
        finally:
            if claim is None:
                os.close(descriptor)
        return claim

    def _claim_open(self, id: str, descriptor: int) -> Claim | None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return self.bury(id, "file", f"inbox/{id}.json: is not a regular file")
        if not files.lock(descriptor) or (self.hold and self.hold.exists()):
            return None
        if not self._names(id, status):
            return None
        if self.answered(id):  # killed between its reply and the end of its request
            Claim(self, id, descriptor, {}, "").clean()
            return None
        if self.is_dead(id):
            return None
        if status.st_nlink > 1 and not self._own_draft(status.st_ino):
            return self.bury(id, "file", f"inbox/{id}.json: has another name (a hard link); copy it instead")
        return self._read(id, descriptor)

    def _read(self, id: str, descriptor: int) -> Claim | None:
        data = b""
        try:
            data = files.read_open(descriptor, MAX_REQUEST, f"inbox/{id}.json")
            document = files.parse(data, f"inbox/{id}.json")
            if self.request_schema:
                schema.check(document, self.request_schema)
        except (BadFile, schema.Invalid) as error:
            if isinstance(error, BadFile) and self._may_grow(id, data):
                return None
            return self.bury(id, "request", f"inbox/{id}.json: {error}", data)
        claim = Claim(self, id, descriptor, document, files.sha256(data))
        if history := self.history(id):
            if why := tries.exhausted(history, tries.kept(self.work(id)), self.tries):
                claim.give_up("tries", why)
                return None
        self.mark(id)
        return claim

    def _may_grow(self, id: str, data: bytes) -> bool:
        """True while bytes that do not parse may still be in the writing: they changed, or were seen just now."""
        seen, now = files.sha256(data), time.monotonic()
        before = self._torn.get(id)
        if before is None or before[0] != seen:
            self._torn[id] = (seen, now)
            return True
        return now - before[1] < SETTLE_S

    def _names(self, id: str, status: os.stat_result) -> bool:
        """True if the path still names the inode that was opened: a request is claimed in place or not at all."""
        try:
            now = os.stat(f"{id}.json", dir_fd=self.inbox_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (now.st_ino, now.st_dev) == (status.st_ino, status.st_dev)

    def _own_draft(self, inode: int) -> bool:
        """True if a second link is our own hidden draft, left by a putter that was killed where O_TMPFILE is missing."""
        drafts = (name for name in os.listdir(self.inbox_fd) if name.startswith(files.DRAFT))
        return any(os.stat(name, dir_fd=self.inbox_fd, follow_symlinks=False).st_ino == inode for name in drafts)

    def postpone(self, id: str, seconds: float) -> None:
        """Do not claim `id` for a while, by this process's monotonic clock."""
        self._not_before[id] = time.monotonic() + seconds

    def bury(self, id: str, kind: str, message: str, request: bytes = b"") -> None:
        """Give a request up: dead/ID.json says why. The request stays. A second marker changes nothing."""
        document = {
            "schema": "dead.v1",
            "id": id,
            "kind": kind,
            "message": message,
            "request_sha256": files.sha256(request) if request else None,
            "tries": [one.summary() for one in self.history(id)],
        }
        with contextlib.suppress(FileExistsError):
            files.publish(self.dead_fd, f"{id}.json", files.pretty(schema.check(document, "dead.v1")), self.durable)

    def revive(self, id: str) -> None:
        """Bring a dead letter back with fresh tries: its marker moves to work/ID/, where it divides old tries from new."""
        work = self.work(id)
        work.mkdir(parents=True, exist_ok=True)
        last = max((one.number for one in tries.all_tries(work)), default=0)
        try:
            os.rename(f"{id}.json", work / f"{tries.RETRIED}{last}.json", src_dir_fd=self.dead_fd)
        except FileNotFoundError:
            raise BadFile(f"{self.name}: {id}: there is no dead letter of this ID") from None
        self._not_before.pop(id, None)


def _exists(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def _why(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link; links are not followed"
    if error.errno == errno.EISDIR:
        return "is a folder, not a request"
    return f"cannot be opened for reading and writing: {error.strerror}"
