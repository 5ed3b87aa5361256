"""A worker that is stopped right before its commit, answered for at the other client, and goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from bus.claim import Claim
from bus.mailbox import Mailbox
from tests.crash.storm_processes import fork
from tests.sharedfs.box import KINDS, box, commit, prepare, question, reply_bytes, whole
from tests.sharedfs.filesystem import FileSystem
from tests.sharedfs.locks import reaches
from tests.sharedfs.row import LATE, Row

CLAIM_S = 5.0  # how long B may need until it sees a request that was put there again


def run(fs: FileSystem) -> Iterator[Row]:
    reach = reaches(fs)
    broken = [f"{kind}: {why}" for kind in KINDS if (why := _late(fs, kind, reach))]
    how = "B, from which its lock is hidden," if not reach else "B was refused; the request put anew at B, then B"
    cell = "a second reply, or none" if broken else "no second reply"
    yield Row(LATE, cell, f"{' and '.join(KINDS)}: stopped at A; {how} answered", "; ".join(broken))


def _late(fs: FileSystem, kind: str, reach: bool) -> str:
    """What broke, or ""."""
    a, b = (box(fs.folder / host, f"late-{kind}", kind) for host in ("A", "B"))
    a.put("r1", question("r1"))
    read, write = os.pipe()
    pid = fork(_stopped_worker, a.folder, kind, write)
    os.waitpid(pid, os.WUNTRACED)
    try:
        if reach and (why := _refused(b)):
            return why
        claim = _claim(b)
        if claim is None:
            return f"B could not claim in {CLAIM_S:.0f} s"
        prepare(claim)
        if not commit(claim):
            return "B's commit said that there was a reply, and there was none"
        before = reply_bytes(b.folder, kind, "r1")
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, 0)
        said = os.read(read, 1000).decode() if os.write(write, b" ") else ""
        return _judge(a, b, kind, before, said.strip())
    finally:
        os.close(read)
        os.close(write)
        a.close()
        b.close()


def _stopped_worker(folder: Path, kind: str, write: int) -> None:
    mailbox = box(folder.parent.parent, folder.parent.name, kind)
    claim = mailbox.claim("r1")
    if claim is None:
        raise RuntimeError("A could not claim its own request")
    prepare(claim)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        os.write(write, str(commit(claim)).encode())
    except OSError as error:  # what an agent does with it: record a failure, unless there is a reply
        claim.fail({"kind": "error", "message": str(error), "where": "late"})
        os.write(write, b"False")


def _refused(b: Mailbox) -> str:
    """Where the lock reaches: B must not get the claim. Then somebody replaces the request, which frees the name."""
    if b.claim("r1") is not None or b.state("r1") != "running":
        return f"A holds the lock, and B sees {b.state('r1')}"
    os.unlink(b.folder / "inbox" / "r1.json")
    b.put("r1", question("r1"))
    return ""


def _claim(b: Mailbox) -> Claim | None:
    end_s = time.monotonic() + CLAIM_S
    while (claim := b.claim("r1")) is None and time.monotonic() < end_s:
        time.sleep(0.05)
    return claim


def _judge(a: Mailbox, b: Mailbox, kind: str, before: bytes, said: str) -> str:
    if said != "False":
        return f"A's late commit returned {said!r}, not False"
    for one in (a, b):
        if why := whole(one, "r1") or ("" if reply_bytes(one.folder, kind, "r1") == before else "the reply changed"):
            return f"{one.folder}: {why}"
        if one.is_dead("r1") or "r1" in one.listing().pending:
            return f"{one.folder}: after the late commit: {one.state('r1')}, {one.listing()}"
    return ""
