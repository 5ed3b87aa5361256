"""A claim: the kernel lock that a working agent holds on a request; how it is taken, and how the work ends.

Exactly one of `commit_folder`, `commit_file`, `fail`, `give_up` and `release` ends it. The lock falls by closing the
descriptor, never by unlocking, so that a child which was given it on purpose goes on holding it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bus import files, locks, schema, tries

if TYPE_CHECKING:
    from bus.mailbox import Mailbox

SETTLE_S = 1.0  # what is wrong must stay so this long: `cp` may still be writing, what is remembered of a file be old
# A service's request is made executable while it is worked on: with no lock held, `ls -l` shows that its agent died.
BEGUN = stat.S_IXUSR
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

_open: set[Claim] = set()


def _close_in_child() -> None:
    for claim in list(_open):
        claim.close()


os.register_at_fork(after_in_child=_close_in_child)


class Claim:
    """One claimed request: `id`, its document `request`, and `request_sha256` of the document's one byte form."""

    def __init__(self, mailbox: Mailbox, id: str, descriptor: int) -> None:
        self.mailbox, self.id, self.descriptor = mailbox, id, descriptor
        self.request: dict[str, Any] = {}
        self.request_sha256 = ""
        self.folder: Path | None = None  # work/ID/try-N, once it has begun
        self.tried = False  # whether work/ID/ is there
        self._mode = 0  # of the request without our mark, once it carries that
        _open.add(self)

    @property
    def work(self) -> Path:
        return self.mailbox.work(self.id)

    def take(self) -> bool:
        """Lock the open request, and only then look whether it may be worked on; what never may goes to dead/."""
        if not locks.take(self.descriptor) or self.mailbox.held():
            return False
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            return self.mailbox.refuse(self.id, "file", "is not a regular file")
        if not self._is_at(f"{self.id}.json", status):  # a request is claimed in place or not at all
            return False
        if self.mailbox.answered(self.id):  # killed between its reply and the end of its request
            return self._finish(ours=False)
        if self.mailbox.is_dead(self.id):
            return False
        if status.st_nlink > 1 and not self._own_draft(status):
            why = "has another name (a hard link); copy it instead"
            return not self._may_settle(why) and self.mailbox.refuse(self.id, "file", why)
        return self._read(status.st_size) and self._may_try(status.st_mode)

    def _is_at(self, name: str, status: os.stat_result) -> bool:
        """True if a name in the inbox leads to the inode that was opened."""
        try:
            return os.path.samestat(os.stat(name, dir_fd=self.mailbox.inbox_fd, follow_symlinks=False), status)
        except FileNotFoundError:
            return False

    def _own_draft(self, status: os.stat_result) -> bool:
        """True if a second name is our own hidden draft, of a putter that was killed or is just done."""
        names = files.names(self.mailbox.inbox_fd)
        return any(name.startswith(files.DRAFT) and self._is_at(name, status) for name in names)

    def _read(self, size: int) -> bool:
        """Read the request and check it; False if it is refused, or may still be in the writing."""
        box, name, data = self.mailbox, f"inbox/{self.id}.json", b""
        try:
            data = files.read_open(self.descriptor, size, files.MAX_REQUEST, name)
            self.request = box.check_place(self.id, schema.check(files.parse(data, name), box.request_schema))
            self.request_sha256 = files.sha256(files.canonical(self.request))
        except (schema.Invalid, TypeError) as error:  # the second: nested more deeply than can be written
            return box.refuse(self.id, "request", str(error))
        except files.BadFile as error:
            why = str(error).removeprefix(f"{name}: ")
            return not self._may_settle(files.sha256(data)) and box.refuse(self.id, "request", why)
        box.unsettled.pop(self.id, None)
        return True

    def _may_settle(self, seen: str) -> bool:
        """True while what is wrong (`seen`) may still pass: it is another thing than before, or was seen just now."""
        unsettled, now = self.mailbox.unsettled, time.monotonic()
        before, since = unsettled.pop(self.id, ("", 0.0))
        if before == seen and now - since >= SETTLE_S:
            return False
        unsettled[self.id] = (seen, since if before == seen else now)
        return True

    def _may_try(self, mode: int) -> bool:
        """True if a further try is due, by what the tries before it left."""
        box, id = self.mailbox, self.id
        self.tried = files.exists(id, box.work_fd)
        if self.tried and not self._own_work():
            return box.refuse(id, "file", f"work/{id} is no folder of this user's; remove it, then bin/retry")
        if not box.folders:  # of a step, the folder of the try is the trace
            self._note_begun(mode)
        if self.tried and (why := tries.exhausted(self.work, box.tries)):
            self.give_up("tries", why)
            return False
        return True

    def _own_work(self) -> bool:
        """True if work/ID is a folder that this user may work in."""
        status = os.stat(self.id, dir_fd=self.mailbox.work_fd, follow_symlinks=False)  # a failing disk raises
        ours = os.geteuid() in (0, status.st_uid) and status.st_mode & stat.S_IRWXU == stat.S_IRWXU
        may = ours or os.access(self.id, os.R_OK | os.W_OK | os.X_OK, dir_fd=self.mailbox.work_fd, effective_ids=True)
        return may and stat.S_ISDIR(status.st_mode)

    def _note_begun(self, mode: int) -> None:
        """Leave a trace for the case of a death, without a folder a message; and count the death that left one."""
        self._mode = stat.S_IMODE(mode) & ~_EXECUTABLE
        if mode & BEGUN and self._chmod(mode ^ stat.S_IXGRP):  # else nobody could take it off, and it tells of no death
            tries.begin(self.work)  # a try with no crash.json
            self.tried = True
        self._chmod(self._mode | BEGUN)

    def _chmod(self, mode: int) -> bool:
        """Change who may execute the request; False where that changes nothing: no modes, or another user's file."""
        with contextlib.suppress(PermissionError):
            os.fchmod(self.descriptor, stat.S_IMODE(mode))
        return not (os.fstat(self.descriptor).st_mode ^ mode) & _EXECUTABLE

    def begin(self) -> Path:
        """Begin a try: returns work/ID/try-N, with out/ in it and kept/ beside it."""
        self.folder, self.tried = tries.begin(self.work), True
        for folder in (self.folder / "out", self.work / "kept"):
            tries.make(folder)
        return self.folder

    def commit_folder(self, facts: dict[str, Any]) -> bool:
        """Publish try-N/out as the reply of a step; False if a reply was there already (it never changes).

        `facts`: what was read, seconds, dollars; the rest of reply.v1 is added. Every child of the try must have ended.
        """
        assert self.folder is not None, "begin() comes first"
        try:
            self._publish(self.folder, facts)
        except OSError as error:  # where locks do not reach it may be any: another's clean-up removes our work, too
            return self._second(error)
        return self._finish(ours=True)

    def _publish(self, folder: Path, facts: dict[str, Any]) -> None:
        box, out = self.mailbox, folder / "out"
        before = tries.all_tries(self.work) if folder.name != "try-1" else []
        told = [one.summary() for one in before if folder.name != f"try-{one.number}"]
        reply: dict[str, Any] = {"schema": "reply.v1", "id": self.id, "step": box.name}
        reply |= {"request_sha256": self.request_sha256, "request": self.request}
        reply |= {"artifacts": artifacts(out), **facts, "tries": told}
        data = files.pretty(schema.check(reply, "reply.v1"))
        files.replace(out / "reply.json", files.fitting(data, files.MAX_DOCUMENT, "reply.json"))
        if box.durable:
            files.sync_tree(out)
        os.rename(out, self.id, dst_dir_fd=box.outbox_fd)

    def commit_file(self, reply: dict[str, Any]) -> bool:
        """Publish the reply of a service; False if a reply was there already."""
        box = self.mailbox
        whole = schema.check({**reply, "request_sha256": self.request_sha256}, box.reply_schema)
        data = files.fitting(files.canonical(whole), files.MAX_DOCUMENT, "the reply")
        try:
            files.publish(box.outbox_fd, f"{self.id}.json", data, box.durable)
        except FileExistsError as error:
            return self._second(error)
        self.clean()
        return True

    def _second(self, error: OSError) -> bool:
        """After an error that another's reply, which stands, or a thing in the place of one may have caused."""
        if self.mailbox.answered(self.id):
            return self._finish(ours=False)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise error
        where = f"{self.mailbox.name}/outbox/{self.id}{self.mailbox.end}"
        raise FileExistsError(errno.EEXIST, f"{where}: is there but is no reply; move it away") from None

    def fail(self, error: dict[str, Any]) -> None:
        """Record a failed try (`error`: kind, message, where and what else error.v1 takes) and put the next one off."""
        if self.mailbox.answered(self.id):  # maybe by us, and that it is durable is what failed: here the request stays
            self.mailbox.doubted.add(self.id)
            self.release()
            return
        wait = tries.wait_s(self.work, error["kind"])
        crash = schema.check(files.readable({"schema": "error.v1", **error, "wait_s": wait}), "error.v1")
        try:
            if self.folder and error["kind"] == "disk":
                files.remove_tree(self.folder / "out")  # or what it wrote would keep the disk full
            self.folder = self.folder or tries.begin(self.work)
            files.replace(self.folder / "crash.json", files.pretty(crash), self.mailbox.durable)  # a child's own goes
        except OSError:
            if self.folder:  # no room to say how it failed: it goes altogether, so that nobody counts it as a death
                files.remove_tree(self.folder)
            self.release()
            raise
        if why := tries.exhausted(self.work, self.mailbox.tries):
            self.give_up("tries", why)
        else:
            self.mailbox.postpone(self.id, wait)
            self.release()

    def give_up(self, kind: str, message: str) -> None:
        """End the request for good: dead/ID.json, unless a reply is there. The request stays."""
        if self.mailbox.answered(self.id):
            self._finish(ours=False)
            return
        self.mailbox.bury(self.id, kind, message, self.request_sha256)
        self.release()

    def _finish(self, ours: bool) -> bool:
        """A reply is there: the request may go once that is durable, too; whoever else made it may have died."""
        if self.mailbox.durable:
            os.fsync(self.mailbox.outbox_fd)
        self.tried = True
        self.clean()
        return ours

    def clean(self) -> None:
        """After a reply: the request goes, then the work folder, then the lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.id}.json", dir_fd=self.mailbox.inbox_fd)
        if self.tried or self.mailbox.folders:
            self._remove_work()
        self.close()

    def _remove_work(self) -> None:
        try:  # three calls where only empty folders are left, forty to look
            for folder in (self.folder or self.work, self.work / "kept", self.work):
                folder.rmdir()
        except OSError:
            files.remove_tree(self.work)

    def release(self) -> None:
        """Give the request back as it is; the next claimant goes on with what was kept."""
        if self._mode:
            with contextlib.suppress(OSError):  # such as a disk that can only be read by now
                self._chmod(self._mode)
        self.close()

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        _open.discard(self)
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # nothing was written by it; other hosts may say that it is gone
                os.close(descriptor)


def artifacts(out: Path) -> dict[str, dict[str, Any]]:
    """{relative name: {sha256, bytes}} of every file below `out`, sorted; raises BadFile for what is no artifact."""
    found = {}
    if not stat.S_ISDIR(os.lstat(out).st_mode):  # a command put something else in its place
        raise files.BadFile(f"{out.name}: is no folder; artifacts are written into the one that was given")
    for parent, folders, names in os.walk(out, onerror=files.unreadable):
        for name in names + [one for one in folders if os.path.islink(os.path.join(parent, one))]:
            path = os.path.join(parent, name)
            relative = files.inside(os.path.relpath(path, out))
            if relative == "reply.json":
                raise files.BadFile("reply.json: is written by the commit itself; give the artifact another name")
            found[relative] = {"sha256": files.sha256_file(path), "bytes": os.path.getsize(path)}
    return dict(sorted(found.items()))
