"""A claim: the kernel lock that a working agent holds on a request, and how the work ends.

Exactly one of `commit_folder`, `commit_file`, `fail`, `give_up` and `release` ends it. The lock falls by closing the
descriptor, never by unlocking, so that a child which was given it on purpose goes on holding it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bus import files, schema, tries

if TYPE_CHECKING:
    from bus.mailbox import Mailbox

# A service's request is made executable while it is worked on: with no lock held, `ls -l` shows that its agent died.
BEGUN = stat.S_IXUSR

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

    def asks(self, document: Any) -> None:
        """Take the request's document; raises Invalid for one that was meant for another ID or another step."""
        if not isinstance(document, dict):
            raise schema.Invalid("is not a JSON object")
        for key, own in (("id", self.id), ("step", self.mailbox.name)):
            if document.get(key, own) != own and (self.mailbox.folders or key == "id"):
                raise schema.Invalid(f"its {key} is {str(document[key])[:100]!r}, not {own!r}; was it copied here?")
        try:
            self.request, self.request_sha256 = document, files.sha256(files.canonical(document))
        except TypeError as error:  # nested more deeply than can be written
            raise schema.Invalid(str(error)) from None

    def note_begun(self, mode: int) -> None:
        """Leave a trace for the case of a death, without a folder a message; and count the death that left one."""
        if self.mailbox.folders:
            return  # the folder of the try is the trace
        if mode & BEGUN:
            tries.begin(self.work)  # a try with no crash.json
            self.tried = True
        self._mode = stat.S_IMODE(mode) & ~BEGUN
        with contextlib.suppress(PermissionError):  # another user's file: its deaths go uncounted
            os.fchmod(self.descriptor, self._mode | BEGUN)

    def begin(self) -> Path:
        """Begin a try: returns work/ID/try-N, with out/ in it and kept/ beside it."""
        self.folder, self.tried = tries.begin(self.work), True
        for folder in (self.folder / "out", self.work / "kept"):
            tries.make(folder)
        return self.folder

    def commit_folder(self, facts: dict[str, Any]) -> bool:
        """Publish try-N/out as the reply of a step; False if a reply was there already (it never changes).

        `facts` are the reply's own fields (what was read, seconds, dollars); id, request, hashes of every
        artifact and the failed tries are added here. Every child of the try must have ended.
        """
        assert self.folder is not None, "begin() comes first"
        try:
            self._publish(self.folder, facts)
        except OSError as error:  # where locks do not reach it may be any: another's clean-up removes our work, too
            if self.mailbox.answered(self.id):
                return self.late()
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            where = f"{self.mailbox.name}/outbox/{self.id}"
            raise FileExistsError(errno.EEXIST, f"{where}: is there but is no reply; move it away") from None
        if self.mailbox.durable:
            os.fsync(self.mailbox.outbox_fd)
        self.clean()
        return True

    def _publish(self, folder: Path, facts: dict[str, Any]) -> None:
        box, out = self.mailbox, folder / "out"
        before = tries.all_tries(self.work) if folder.name != "try-1" else []
        reply = {
            "schema": "reply.v1",
            "id": self.id,
            "step": box.name,
            "request_sha256": self.request_sha256,
            "request": self.request,
            "artifacts": artifacts(out),
            **facts,
            "tries": [one.summary() for one in before if folder.name != f"try-{one.number}"],
        }
        files.publish_path(out / "reply.json", files.pretty(schema.check(reply, "reply.v1")), durable=False)
        if box.durable:
            files.sync_tree(out)
        os.rename(out, self.id, dst_dir_fd=box.outbox_fd)

    def commit_file(self, reply: dict[str, Any]) -> bool:
        """Publish the reply of a service; False if a reply was there already."""
        box = self.mailbox
        data = files.canonical(schema.check({**reply, "request_sha256": self.request_sha256}, box.reply_schema))
        if len(data) > files.MAX_DOCUMENT:
            raise files.BadFile(
                f"the reply: {len(data):,} bytes, more than the {files.MAX_DOCUMENT:,} that one may have"
            )
        try:
            files.publish(box.outbox_fd, f"{self.id}.json", data, box.durable)
        except FileExistsError:
            return self.late()
        self.clean()
        return True

    def fail(self, error: dict[str, Any]) -> None:
        """Record a failed try (`error`: kind, message, where and what else error.v1 takes) and put the next one off."""
        if self.mailbox.answered(self.id):
            self.late()
            return
        wait = tries.wait_s(self.mailbox.history(self.id), error["kind"])
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
        if why := self.mailbox.exhausted(self.id):
            self.give_up("tries", why)
        else:
            self.mailbox.postpone(self.id, wait)
            self.release()

    def give_up(self, kind: str, message: str) -> None:
        """End the request for good: dead/ID.json, unless a reply is there. The request stays."""
        if self.mailbox.answered(self.id):
            self.late()
            return
        self.mailbox.bury(self.id, kind, message, self.request_sha256)
        self.release()

    def late(self) -> Literal[False]:
        """Another has replied: the request may go once that reply is durable, too; whoever made it may have died."""
        if self.mailbox.durable:
            os.fsync(self.mailbox.outbox_fd)
        self.tried = True
        self.clean()
        return False

    def clean(self) -> None:
        """After a reply: the request goes, then the work folder, then the lock."""
        try:
            os.unlink(f"{self.id}.json", dir_fd=self.mailbox.inbox_fd)
        except FileNotFoundError:
            pass
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
        if self._mode and self.descriptor >= 0:
            with contextlib.suppress(OSError):  # such as a disk that can only be read by now
                os.fchmod(self.descriptor, self._mode)
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
    for parent, folders, names in files.walk(out):
        for name in names + [one for one in folders if os.path.islink(os.path.join(parent, one))]:
            path = os.path.join(parent, name)
            relative = files.inside(os.path.relpath(path, out))
            if relative == "reply.json":
                raise files.BadFile("reply.json: is written by the commit itself; give the artifact another name")
            found[relative] = {"sha256": files.sha256_file(path), "bytes": os.path.getsize(path)}
    return dict(sorted(found.items()))
