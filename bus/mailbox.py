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
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bus import files, locks, schema, tries
from bus.claim import Claim
from bus.files import BadFile

ID = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")
_FILE = re.compile(ID.pattern + r"\.json")
PARTS = ("inbox", "work", "outbox", "dead")
_REQUEST = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_REFUSED = files.NOT_REGULAR | {  # what opening a request may say that waiting does not change
    errno.EISDIR: "is a folder, not a request",
    errno.ENODEV: "is not a regular file",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "may not be read and written by this user"),
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

    `folders`: replies are folders with artifacts (a step), not single files (a service). `hold`: a path that, while it
    exists, keeps anything new from being claimed. `tries`: how many failures make a request dead. `durable`: fsync
    before answering; as good as the least durable of those that write to the mailbox.
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
        self._fds: list[int] = []  # opened once, and no link: what is swapped for one later leads nowhere
        self.folder, self.name, self.folders, self.durable = Path(folder), Path(folder).name, folders, durable
        self.request_schema, self.reply_schema, self.tries, self.hold = request, reply, tries, hold
        self.end = "" if folders else ".json"  # of a reply's name
        if self.folder.is_symlink():
            raise BadFile(f"{self.folder}: is a symbolic link; a mailbox is a folder of its run")
        self._not_before: dict[str, float] = {}  # ID -> this process's monotonic clock
        self.unsettled: dict[str, tuple[str, float]] = {}  # ID -> what is wrong and may pass, when first seen
        self.doubted: set[str] = set()  # answered IDs whose requests this process leaves where they are
        try:
            for part in PARTS:
                if part == PARTS[-1] and durable and not (self.folder / part).exists():
                    for folder in (self.folder, self.folder.parent):  # before the last: where that is, all is durable
                        files.fsync(folder)
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

    __del__ = close  # as an open file does

    def put(self, id: str, document: dict[str, Any]) -> bool:
        """Ask. True if this call put it there, False if the same was asked before; Conflict if something else was."""
        return self.put_many([(id, document)]) > 0

    def put_many(self, questions: Iterable[tuple[str, dict[str, Any]]]) -> int:
        """Ask many, at the price of two fsyncs for every 500; returns how many are new.

        One is a syncfs, which tells of failed writes from Linux 5.8 on. After a Conflict, or any other error, some have
        been asked: asking all of them again is right.
        """
        asked, new = [(check_id(id), self._bytes(id, document)) for id, document in questions], 0
        while asked:
            batch = [(id, data) for id, data in asked[: files.BATCH] if not self._same(id, data, "a reply")]
            taken = files.publish_many(self.inbox_fd, [(f"{id}.json", data) for id, data in batch], self.durable)
            new, asked = new + len(batch) - len(taken), asked[files.BATCH :]
            for id, data in batch:
                if f"{id}.json" not in taken:
                    self._same(id, data, "a reply")  # to something else since we looked: a Conflict
                elif not self._same(id, data, "a request"):
                    asked.append((id, data))  # answered, and so removed, while we looked: look again
        return new

    def _bytes(self, id: str, document: dict[str, Any]) -> bytes:
        try:
            data = files.canonical(self.check_place(id, schema.check(document, self.request_schema)))
            return files.fitting(data, files.MAX_REQUEST, "it")
        except (TypeError, ValueError, BadFile) as error:  # NaN, an integer past 64 bits, what is no JSON at all
            raise schema.Invalid(f"the request: {error}") from None

    def check_place(self, id: str, document: Any) -> dict[str, Any]:
        """The document of a request; raises Invalid if it is none, or was meant for another ID or another step."""
        if not isinstance(document, dict):
            raise schema.Invalid("is not a JSON object")
        for key, own in (("id", id), ("step", self.name)):
            if document.get(key, own) != own and (self.folders or key == "id"):
                raise schema.Invalid(f"its {key} is {str(document[key])[:100]!r}, not {own!r}; was it copied here?")
        return document

    def _same(self, id: str, data: bytes, what: Literal["a reply", "a request"]) -> bool:
        """True if what is there under an ID is, or answers, the request `data`; from now on that is durable."""
        before = self.answered_hash(id) if what == "a reply" else self._asked_hash(id)
        if before is None:
            return False
        if before != (now := files.sha256(data)):
            both = f"sha256 {before[:12]}, not {now[:12]}"
            raise Conflict(f"{self.name}: {id}: {what} for other content is there ({both}); give yours another ID")
        if self.durable:
            os.fsync(self.inbox_fd)
            os.fsync(self.outbox_fd)
        return True

    def _asked_hash(self, id: str) -> str | None:
        """The sha256 of a waiting request in its one byte form, however it was put."""
        try:
            data = files.read_bytes(f"{id}.json", files.MAX_REQUEST, self.inbox_fd)
            if self.durable:
                files.fsync(f"{id}.json", self.inbox_fd)  # a person's `cp` has not done so
            return files.sha256(files.canonical(files.parse(data, id)))
        except (BadFile, TypeError):  # the second for one that is nested too deeply
            return "not readable"
        except OSError as error:
            if error.errno not in files.GONE:
                raise
            return None

    def listing(self) -> Listing:
        """What is here now: one pass over inbox/, then the replies, then dead/."""
        requests = _ids(files.names(self.inbox_fd), ".json")
        replies = _ids(files.names(self.outbox_fd), self.end)
        return Listing(requests, replies, _ids(files.names(self.dead_fd), ".json"))

    def state(self, id: str) -> State | None:
        """The state of one ID, by the rule at the top of this file, or None where nothing is known of it."""
        if self.answered(check_id(id)):
            return "done"
        if self.is_dead(id):
            return "dead"
        if not files.exists(f"{id}.json", self.inbox_fd):
            return "done" if self.answered(id) else None
        if locks.is_held(f"{id}.json", self.inbox_fd):
            return "running"
        if self.held():
            return "held"
        history = tries.history(self.work(id))
        return "failed" if any(one.failed or one.kind in ("death", "disk") for one in history) else "waiting"

    def held(self) -> bool:
        return self.hold is not None and os.path.lexists(self.hold)

    def answered(self, id: str) -> bool:
        reply, kind = (f"{id}/reply.json", "folder") if self.folders else (f"{id}.json", "file")
        return files.exists(reply, self.outbox_fd) and files.kind(f"{id}{self.end}", self.outbox_fd) == kind

    def is_dead(self, id: str) -> bool:
        return files.exists(f"{id}.json", self.dead_fd)

    def reply(self, id: str) -> dict[str, Any] | None:
        """The reply's document, checked against its schema, or None; raises BadFile or Invalid if it is damaged."""
        where = f"{self.name}/outbox/{check_id(id)}{self.end}"
        try:
            document: dict[str, Any] = schema.check(files.parse(self._reply_bytes(id), where), self.reply_schema)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (BadFile, PermissionError) as error:
            raise BadFile(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None
        except schema.Invalid as error:
            raise schema.Invalid(f"{where}: {error}") from None
        if self.folders and isinstance(document, dict) and document.get("id", id) != id:
            raise BadFile(f"{where}: is the reply of {str(document['id'])[:100]!r}; was it copied there?")
        return document

    def _reply_bytes(self, id: str) -> bytes:
        if not self.folders:
            return files.read_bytes(f"{id}.json", dir_fd=self.outbox_fd)
        folder_fd = os.open(id, files.FOLDER, dir_fd=self.outbox_fd)
        try:  # one that is swapped for another meanwhile is read from neither of the two in part
            return files.read_bytes("reply.json", dir_fd=folder_fd)
        finally:
            os.close(folder_fd)

    def answered_hash(self, id: str) -> str | None:
        """The sha256 of the request that was answered under this ID, or None where there is no reply."""
        if not self.answered(id) or (reply := self.reply(id)) is None:
            return None
        if not isinstance(reply, dict) or not isinstance(known := reply.get("request_sha256"), str):
            raise BadFile(f"{self.name}/outbox/{id}: does not say what it answers")
        return known

    def work(self, id: str) -> Path:
        """The folder of a request's tries, by path: children are told it. BadFile if work/ was swapped for another."""
        folder = self.folder / "work"
        if not folder.exists() or not os.path.samestat(folder.lstat(), os.fstat(self.work_fd)):
            raise BadFile(f"{folder}: is not the folder that was opened; put that back")
        return folder / check_id(id)

    def claims(self) -> Iterator[Claim]:
        """Claim what can be claimed, one after another, in order: list once and drain. The caller ends each claim."""
        yield from filter(None, map(self.claim, self.asked()))

    def asked(self, but: Iterable[str] = ()) -> list[str]:
        """The IDs in the inbox, in order, but for those given up and `but`; what is no request is refused."""
        names = files.names(self.inbox_fd)
        ids = _ids(names, ".json")
        for name in sorted({*names} - {f"{id}.json" for id in ids}) if len(ids) < len(names) else ():
            bad = f"bad-{files.sha256(os.fsencode(name))[:16]}"
            if name[0] != "." and not self.is_dead(bad):
                self.bury(bad, "name", f"inbox/{name!r}: not ID.json; IDs are 1 to 100 of a-z 0-9 _ -")
        if len(ids) > 1:  # of one alone it is known sooner when it is claimed
            ids -= _ids(files.names(self.dead_fd), ".json")
        ids -= frozenset(but)
        return sorted(sorted(ids), key=len)  # an answered one is cleaned up on the way

    def claim(self, id: str) -> Claim | None:
        """Take the lock on a request; None if it is held, gone, answered, dead, put off, or not (yet) readable."""
        if id in self.doubted or self._not_before.get(id, 0.0) > time.monotonic():
            return None
        claim, ours = None, False
        try:
            claim = Claim(self, id, os.open(f"{check_id(id)}.json", _REQUEST, dir_fd=self.inbox_fd))
            ours = claim.take()
        except OSError as error:
            if claim is None and error.errno in _REFUSED:
                self.refuse(id, "file", _REFUSED[error.errno])
            elif files.is_full(error):
                self.postpone(id, tries.DISK_WAIT_S)
            elif error.errno not in files.GONE:
                raise
        finally:
            if ours:
                self._not_before.pop(id, None)
            elif claim:
                claim.close()
        return claim if ours else None

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

    def postponed(self) -> float:
        """Seconds until the first request that is put off may be claimed; 0 if none is. Only this process knows."""
        now = time.monotonic()
        return min((when - now for when in list(self._not_before.values()) if when > now), default=0.0)

    def refuse(self, id: str, kind: str, why: str) -> Literal[False]:
        """Give up a request that can never be worked on."""
        self.bury(id, kind, f"inbox/{id}.json: {why}")
        return False

    def bury(self, id: str, kind: str, message: str, request_sha256: str | None = None) -> None:
        """Give a request up: dead/ID.json says why. The request stays. A second marker changes nothing."""
        letter = {"schema": "dead.v1", "id": id, "kind": kind, "message": files.readable(message)}
        letter |= {"request_sha256": request_sha256, "tries": [one.summary() for one in tries.history(self.work(id))]}
        try:
            files.publish(self.dead_fd, f"{id}.json", files.pretty(schema.check(letter, "dead.v1")), self.durable)
        except OSError as error:
            if files.is_full(error):
                self.postpone(id, tries.DISK_WAIT_S)  # no room to say why: it is looked at again
            elif error.errno != errno.EEXIST:
                raise

    def revive(self, id: str) -> None:
        """Bring a dead letter back with fresh tries: its marker moves to work/ID/, and divides old tries from new."""
        work = self.work(id)
        if f"{id}.json" not in files.names(self.dead_fd):  # not `is_dead`: here a failing disk raises
            raise BadFile(f"{self.name}: {id}: there is no dead letter of this ID")
        tries.make(work)
        last = max((one.number for one in tries.all_tries(work)), default=0)
        os.rename(f"{id}.json", work / f"{tries.RETRIED}{last}.json", src_dir_fd=self.dead_fd)
        if self.durable:
            files.fsync(work)
            os.fsync(self.work_fd)
            os.fsync(self.dead_fd)
        self._not_before.pop(id, None)


def _ids(names: Iterable[str], end: str) -> frozenset[str]:
    fits = (_FILE if end else ID).fullmatch
    return frozenset(name.removesuffix(end) for name in names if fits(name))
