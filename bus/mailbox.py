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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bus import files, schema, tries
from bus.claim import Claim
from bus.files import BadFile

ID = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")
_FILE = re.compile(ID.pattern + r"\.json")
PARTS = ("inbox", "work", "outbox", "dead")
MAX_REQUEST = 16 * 1024 * 1024  # bytes; larger input belongs in an artifact that the request names
SETTLE_S = 1.0  # an unparsable request must stay unchanged this long before it is dead: `cp` may still be writing it
_REQUEST = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_REFUSED = {  # what opening a request may say that waiting does not change
    errno.ELOOP: "is a symbolic link; links are not followed",
    errno.EISDIR: "is a folder, not a request",
    errno.ENXIO: "is not a regular file",
    errno.ENODEV: "is not a regular file",
    errno.EACCES: "may not be read and written by this user",
    errno.EPERM: "may not be read and written by this user",
}

State = Literal["done", "dead", "running", "held", "failed", "waiting"]


class Conflict(Exception):
    """The same ID was asked or answered before with other content; the text names both."""


def check_id(id: str) -> str:
    """`id` itself; raises BadFile if it is not one."""
    if not ID.fullmatch(id):
        raise BadFile(f"{id[:120]!r}: not an ID; IDs are 1 to 100 of a-z 0-9 _ - and begin with a letter or digit")
    return id


def order(id: str) -> tuple[int, str]:
    """The order of IDs: r2 before r10."""
    return len(id), id


class Listing(NamedTuple):
    """The names in one mailbox at one look; the inbox is read first, so a request that moves on is never missed."""

    requests: frozenset[str]
    replies: frozenset[str]
    dead: frozenset[str]

    @property
    def pending(self) -> list[str]:
        return sorted(self.requests - self.replies - self.dead, key=order)


class Mailbox:
    """One mailbox, for askers and for the agent that serves it.

    `folders`: replies are folders with artifacts (a step) rather than single files (a service).
    `hold`: a path that, while it exists, keeps anything new from being claimed.
    `tries`: how many failures a request may have before it is dead. `durable`: fsync before answering, which is as
    good as the least durable of those that made the mailbox and wrote to it.
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
        if self.folder.is_symlink():
            raise BadFile(f"{self.folder}: is a symbolic link; a mailbox is a folder of its run")
        self._not_before: dict[str, float] = {}  # ID -> this process's monotonic clock
        self._torn: dict[str, tuple[str, float]] = {}  # ID -> hash of its unparsable bytes, when first seen
        self._fds: list[int] = []  # opened once, and no link: what is swapped for one later leads nowhere
        try:
            for part in PARTS:
                if part == PARTS[-1] and durable and not (self.folder / part).exists():
                    for folder in (self.folder, self.folder.parent):  # before the last: where that is, all is durable
                        files.fsync(folder)
                with contextlib.suppress(FileExistsError):
                    files.make_folder(self.folder / part, durable)
                self._fds.append(os.open(self.folder / part, files.FOLDER))
        except OSError as error:
            self.close()
            if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                raise
            raise BadFile(f"{error.filename}: {error.strerror}; a mailbox has folders of its own") from None
        self.inbox_fd, self.work_fd, self.outbox_fd, self.dead_fd = self._fds

    def close(self) -> None:
        while self._fds:
            with contextlib.suppress(OSError):  # closed all the same
                os.close(self._fds.pop())

    # -- asking ---------------------------------------------------------------------------------------------

    def put(self, id: str, document: dict[str, Any]) -> bool:
        """Ask. True if this call put it there, False if the same was asked before; Conflict if something else was."""
        data = self._bytes(document)
        while not self._same(check_id(id), data, self.answered_hash(id), "a reply"):
            try:
                files.publish(self.inbox_fd, f"{id}.json", data, self.durable)
                # Another may have asked something else, and been answered, since we looked: a Conflict.
                self._same(id, data, self.answered_hash(id), "a reply")
                return True
            except FileExistsError:
                if self._same(id, data, self._asked_hash(id), "a request"):
                    break  # else answered, and so removed, while we looked: look again
        return False

    def put_many(self, questions: Iterable[tuple[str, dict[str, Any]]]) -> int:
        """Ask many, at the price of two fsyncs for every 200; returns how many are new.

        After a Conflict, or any other error, some have been asked: asking all of them again is right.
        """
        waiting, new = [(check_id(id), self._bytes(document)) for id, document in questions], 0
        while waiting:
            batch, waiting = waiting[: files.BATCH], waiting[files.BATCH :]
            batch = [(id, data) for id, data in batch if not self._same(id, data, self.answered_hash(id), "a reply")]
            taken = files.publish_many(self.inbox_fd, [(f"{id}.json", data) for id, data in batch], self.durable)
            new += len(batch) - len(taken)
            for id, data in batch:
                answered = self._same(id, data, self.answered_hash(id), "a reply")
                if f"{id}.json" in taken and not (answered or self._same(id, data, self._asked_hash(id), "a request")):
                    waiting.append((id, data))
        return new

    def _bytes(self, document: dict[str, Any]) -> bytes:
        try:
            data = files.canonical(schema.check(document, self.request_schema))
        except (TypeError, ValueError) as error:  # NaN, an integer past 64 bits, what is no JSON at all
            raise schema.Invalid(f"the request: {error}") from None
        if len(data) > MAX_REQUEST:
            raise schema.Invalid(f"the request: {len(data):,} bytes, more than the {MAX_REQUEST:,} that one may have")
        return data

    def _same(self, id: str, data: bytes, before: str | None, what: str) -> bool:
        """True if what is there under an ID (`before`: its sha256) is `data`; from now on that is durable."""
        if before is None:
            return False
        if before != (now := files.sha256(data)):
            raise Conflict(
                f"{self.name}: {id}: {what} for other content is there (sha256 {before[:12]}, not {now[:12]}); "
                "give the new question another ID"
            )
        if self.durable:
            try:
                if what == "a request":
                    files.fsync(self.folder / "inbox" / f"{id}.json")  # a person's `cp` has not done so
            except OSError as error:
                if error.errno not in files.GONE:
                    raise
            for folder_fd in (self.inbox_fd, self.outbox_fd):
                os.fsync(folder_fd)
        return True

    def _asked_hash(self, id: str) -> str | None:
        """The sha256 of a waiting request in its one byte form, however it was put."""
        try:
            data = files.read_bytes(f"{id}.json", MAX_REQUEST, self.inbox_fd)
            return files.sha256(files.canonical(files.parse(data, id)))
        except (BadFile, TypeError):  # the second for one that is nested too deeply
            return "not readable"
        except OSError as error:
            if error.errno not in files.GONE:
                raise
            return None

    # -- looking --------------------------------------------------------------------------------------------

    def listing(self) -> Listing:
        """What is here now: one pass over inbox/, then the replies, then dead/."""
        requests = _ids(files.names(self.inbox_fd), ".json")
        answered = _ids(files.names(self.outbox_fd), "" if self.folders else ".json")
        return Listing(requests, answered, _ids(files.names(self.dead_fd), ".json"))

    def state(self, id: str) -> State | None:
        """The state of one ID, by the rule at the top of this file, or None where nothing is known of it."""
        if self.answered(check_id(id)):
            return "done"
        if self.is_dead(id):
            return "dead"
        if not files.exists(f"{id}.json", self.inbox_fd):
            return "done" if self.answered(id) else None
        if files.is_locked(f"{id}.json", self.inbox_fd):
            return "running"
        if self.held():
            return "held"
        return "failed" if any(one.failed or one.kind in ("death", "disk") for one in self.history(id)) else "waiting"

    def held(self) -> bool:
        return self.hold is not None and os.path.lexists(self.hold)

    def answered(self, id: str) -> bool:
        if not self.folders:
            return files.exists(f"{id}.json", self.outbox_fd)
        return files.exists(f"{id}/reply.json", self.outbox_fd) and files.is_folder(id, self.outbox_fd)

    def is_dead(self, id: str) -> bool:
        return files.exists(f"{id}.json", self.dead_fd)

    def reply(self, id: str) -> dict[str, Any] | None:
        """The reply's document, checked against its schema, or None; raises BadFile or Invalid if it is damaged."""
        name, folder_fd = f"{check_id(id)}.json", self.outbox_fd
        try:
            if self.folders:  # one that is swapped for another meanwhile is read from neither of the two in part
                name, folder_fd = "reply.json", os.open(id, files.FOLDER, dir_fd=self.outbox_fd)
            data = files.read_bytes(name, files.MAX_DOCUMENT, folder_fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (BadFile, PermissionError) as error:
            raise BadFile(f"{self.name}/outbox/{id}: {error}") from None
        finally:
            if folder_fd != self.outbox_fd:
                os.close(folder_fd)
        where = f"{self.name}/outbox/{id}{'' if self.folders else '.json'}"
        try:
            document: dict[str, Any] = schema.check(files.parse(data, where), self.reply_schema)
        except schema.Invalid as error:
            raise schema.Invalid(f"{where}: {error}") from None
        if self.folders and isinstance(document, dict) and document.get("id", id) != id:
            raise BadFile(f"{where}: is the reply of {str(document['id'])[:100]!r}; was it copied there?")
        return document

    def answered_hash(self, id: str) -> str | None:
        """The sha256 of the request that was answered under this ID, or None where there is no reply."""
        if not self.answered(id) or (reply := self.reply(id)) is None:
            return None
        if not isinstance(reply, dict) or not isinstance(known := reply.get("request_sha256"), str):
            raise BadFile(f"{self.name}/outbox/{id}: does not say what it answers")
        return known

    def history(self, id: str) -> list[tries.Try]:
        return tries.history(self.work(id))

    def exhausted(self, id: str) -> str | None:
        """Why a request gets no further try, in words, or None."""
        return tries.exhausted(self.history(id), tries.kept(self.work(id)), self.tries)

    def work(self, id: str) -> Path:
        """The folder of a request's tries, by path: children are told it. BadFile if work/ was swapped for another."""
        folder = self.folder / "work"
        if not folder.exists() or not os.path.samestat(folder.lstat(), os.fstat(self.work_fd)):
            raise BadFile(f"{folder}: is not the folder that was opened; put that back")
        return folder / check_id(id)

    # -- serving --------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Call once before claiming: remove what agents that were killed right after a reply left behind."""
        for id in _ids(files.names(self.work_fd), ""):
            if self.answered(id) and not files.exists(f"{id}.json", self.inbox_fd):
                files.remove_tree(self.work(id))

    def claims(self) -> Iterator[Claim]:
        """Claim what can be claimed, one after another, in order: list once and drain. The caller ends each claim."""
        names = files.names(self.inbox_fd)
        if len(ids := _ids(names, ".json")) < len(names):
            self._refuse_strange(names)
        if len(ids) > 1:  # of one alone it is known sooner when it is claimed
            ids -= _ids(files.names(self.dead_fd), ".json")
        for id in sorted(sorted(ids), key=len):  # an answered one is cleaned up on the way
            if (claim := self.claim(id)) is not None:
                yield claim

    def _refuse_strange(self, names: Iterable[str]) -> None:
        for name in sorted(name for name in names if name[0] != "." and not _FILE.fullmatch(name)):
            bad = f"bad-{files.sha256(os.fsencode(name))[:16]}"
            if not self.is_dead(bad):
                self.bury(bad, "name", f"inbox/{name!r}: not ID.json; IDs are 1 to 100 of a-z 0-9 _ -")

    def claim(self, id: str) -> Claim | None:
        """Take the lock on a request; None if it is held, gone, answered, dead, put off, or not (yet) readable."""
        if id in self._not_before and self._not_before[id] > time.monotonic():
            return None
        try:
            descriptor = os.open(f"{check_id(id)}.json", _REQUEST, dir_fd=self.inbox_fd)
        except OSError as error:
            if error.errno in _REFUSED:
                self._refuse(id, "file", _REFUSED[error.errno])
            elif error.errno not in files.GONE:
                raise
            return None
        claim, ours = Claim(self, id, descriptor), False
        try:
            ours = self._take(claim)
        except OSError as error:
            if files.is_full(error):
                self.postpone(id, tries.DISK_WAIT_S)
            elif error.errno not in files.GONE:
                raise
        finally:
            if not ours:
                claim.close()
        return claim if ours else None

    def _take(self, claim: Claim) -> bool:
        """Lock the open request, and only then look whether it may be worked on."""
        id = claim.id
        if not files.lock(claim.descriptor) or self.held():
            return False
        status = os.fstat(claim.descriptor)
        if not stat.S_ISREG(status.st_mode):
            return self._refuse(id, "file", "is not a regular file")
        if not self._names(f"{id}.json", status):
            return False
        if self.answered(id):  # killed between its reply and the end of its request
            return claim.late()
        if self.is_dead(id):
            return False
        if status.st_nlink > 1 and not self._own_draft(status, claim.descriptor):
            return self._refuse(id, "file", "has another name (a hard link); copy it instead")
        if not self._read(claim, status.st_size):
            return False
        claim.tried = files.exists(id, self.work_fd)
        if claim.tried and not self._own_work(id):
            return self._refuse(id, "file", f"work/{id} is no folder of this user's; remove it, then bin/retry")
        claim.note_begun(status.st_mode)
        if claim.tried and (why := self.exhausted(id)):
            claim.give_up("tries", why)
            return False
        return True

    def _names(self, name: str, status: os.stat_result) -> bool:
        """True if a name still leads to the inode that was opened: a request is claimed in place or not at all."""
        try:
            return os.path.samestat(os.stat(name, dir_fd=self.inbox_fd, follow_symlinks=False), status)
        except FileNotFoundError:
            return False

    def _own_draft(self, status: os.stat_result, descriptor: int) -> bool:
        """True if a second name is our own hidden draft, of a putter that was killed or is just done."""
        drafts = [name for name in files.names(self.inbox_fd) if name.startswith(files.DRAFT)]
        return any(self._names(name, status) for name in drafts) or os.fstat(descriptor).st_nlink == 1  # gone just now

    def _own_work(self, id: str) -> bool:
        status = os.stat(id, dir_fd=self.work_fd, follow_symlinks=False)  # a failing disk raises
        ours = os.geteuid() in (0, status.st_uid) and status.st_mode & stat.S_IRWXU == stat.S_IRWXU
        may = ours or os.access(id, os.R_OK | os.W_OK | os.X_OK, dir_fd=self.work_fd, effective_ids=True)
        return may and stat.S_ISDIR(status.st_mode)

    def _read(self, claim: Claim, size: int) -> bool:
        name, data = f"inbox/{claim.id}.json", b""
        try:
            data = files.read_open(claim.descriptor, size, MAX_REQUEST, name)
            claim.asks(schema.check(files.parse(data, name), self.request_schema))
        except schema.Invalid as error:
            return self._refuse(claim.id, "request", str(error))
        except BadFile as error:
            return not self._may_grow(claim.id, data) and self._refuse(claim.id, "request", str(error))
        return True

    def _may_grow(self, id: str, data: bytes) -> bool:
        """True while bytes that do not parse may still be in the writing: they changed, or were seen just now."""
        now, seen = time.monotonic(), files.sha256(data)
        if self._torn.get(id, ("", 0.0))[0] != seen:
            self._torn[id] = (seen, now)
        return now - self._torn[id][1] < SETTLE_S

    def withdraw(self, id: str) -> None:
        """Take back a request that nobody works on; its tries stay."""
        if claim := self.claim(id):
            try:
                os.unlink(f"{id}.json", dir_fd=self.inbox_fd)
            finally:
                claim.release()

    def postpone(self, id: str, seconds: float) -> None:
        """Do not claim `id` for a while, by this process's monotonic clock."""
        self._not_before[id] = time.monotonic() + seconds

    def postponed(self) -> bool:
        """True while some request is put off: only this process knows until when."""
        return any(when > time.monotonic() for when in self._not_before.values())

    def _refuse(self, id: str, kind: str, why: str) -> Literal[False]:
        name = f"inbox/{id}.json"
        self.bury(id, kind, why if why.startswith(name) else f"{name}: {why}")
        return False

    def bury(self, id: str, kind: str, message: str, request_sha256: str | None = None) -> None:
        """Give a request up: dead/ID.json says why. The request stays. A second marker changes nothing."""
        letter = {"schema": "dead.v1", "id": id, "kind": kind, "message": files.readable(message)}
        letter |= {"request_sha256": request_sha256, "tries": [one.summary() for one in self.history(id)]}
        try:
            files.publish(self.dead_fd, f"{id}.json", files.pretty(schema.check(letter, "dead.v1")), self.durable)
        except FileExistsError:
            pass
        except OSError as error:
            if not files.is_full(error):
                raise
            self.postpone(id, tries.DISK_WAIT_S)  # no room to say why: it is looked at again

    def revive(self, id: str) -> None:
        """Bring a dead letter back with fresh tries: its marker moves to work/ID/, and divides old tries from new."""
        work = self.work(id)
        try:
            os.stat(f"{id}.json", dir_fd=self.dead_fd, follow_symlinks=False)
        except FileNotFoundError:
            raise BadFile(f"{self.name}: {id}: there is no dead letter of this ID") from None
        tries.make(work)
        last = max((one.number for one in tries.all_tries(work)), default=0)
        os.rename(f"{id}.json", work / f"{tries.RETRIED}{last}.json", src_dir_fd=self.dead_fd)
        if self.durable:
            files.fsync(work)
            for folder_fd in (self.work_fd, self.dead_fd):
                os.fsync(folder_fd)
        self._not_before.pop(id, None)


def _ids(names: Iterable[str], end: str) -> frozenset[str]:
    fits = (_FILE if end else ID).fullmatch
    return frozenset(name.removesuffix(end) for name in names if fits(name))
