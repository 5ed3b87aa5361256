"""What is killed, and starved of disk, at every system call: one job for each thing that a mailbox does.

A job is a function of a Scene. It prepares (not traced) and returns what is then traced. What it notes is the ID of
a request that `put` has acknowledged: from then on that request may not be lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents._publish import publish_path
from agents._run import tidy
from bus.claim import Claim
from bus.mailbox import Mailbox
from tests.crash.trace import Act, Call, Note

FACTS = {"read": {}, "seconds": 1.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 1.0}
ERROR = {"kind": "error", "message": "ValueError: no", "where": "tests"}
STEP, SERVICE = "10-first", "echo"
TRIES = 3
_TMPFILE, _GET_LOCK, _SET_LOCK = os.O_TMPFILE & ~os.O_DIRECTORY, 36, 37  # F_OFD_GETLK, F_OFD_SETLK


@dataclass(frozen=True)
class Kind:
    """One kind of mailbox, on one kind of file system."""

    folders: bool
    durable: bool
    plain: bool = False  # a file system that has neither nameless files nor locks of open files

    def __str__(self) -> str:
        where = ", plain file system" if self.plain else ""
        return f"{'step' if self.folders else 'service'}{', durable' if self.durable else ''}{where}"

    def open(self, folder: Path) -> Mailbox:
        name, request, reply = (STEP, "request.v1", "reply.v1") if self.folders else (SERVICE, None, None)
        options: dict[str, Any] = {"request": request, "reply": reply, "tries": TRIES, "durable": self.durable}
        return Mailbox(folder / name, folders=self.folders, **options)

    def refuse(self, call: Call) -> int:
        """What such a file system answers to a call that it does not know."""
        if not self.plain:
            return 0
        if call.name == "openat" and call.arguments[2] & _TMPFILE:
            return errno.EOPNOTSUPP
        return errno.EINVAL if call.name == "fcntl" and call.arguments[1] in (_GET_LOCK, _SET_LOCK) else 0


class Scene:
    """A mailbox as one job sees it, in a process of its own."""

    def __init__(self, kind: Kind, folder: Path, note: Note) -> None:
        self.kind, self.note, self.box = kind, note, kind.open(folder)
        self.claim: Claim | None = None  # what the job holds

    def close(self) -> None:
        if self.claim:
            self.claim.close()
        self.box.close()

    def put(self, *ids: str) -> list[str]:
        for id in ids:
            self.box.put(id, request(self.kind, id))
            self.note(id)
        return list(ids)

    def take(self, id: str = "r1") -> Claim | None:
        self.box.postpone(id, 0.0)
        self.claim = self.box.claim(id)
        return self.claim

    def held(self) -> Claim:
        """A fresh claim on r1."""
        self.put("r1")
        claim = self.take()
        assert claim is not None
        return claim


def request(kind: Kind, id: str) -> dict[str, Any]:
    if kind.folders:
        return {"schema": "request.v1", "id": id, "step": STEP, "round": int(id[1:])}
    return {"schema": "any.v1", "id": id, "question": f"what is {id}?"}


def answer(id: str) -> str:
    """The one right answer to a request; longer than a block of a disk."""
    return f"the answer to {id}\n" * 300


def begin(claim: Claim, keeps: str = "part.txt") -> Claim:
    """A worker's try up to its commit: what it keeps, then what it makes."""
    if claim.mailbox.folders:
        out = claim.begin() / "out"
        if keeps:
            publish_path(claim.work / "kept" / keeps, answer(claim.id).encode(), claim.mailbox.durable)
        write(out / "answer.txt", answer(claim.id))
        (out / "more").mkdir()
        write(out / "more" / "short.txt", claim.id)
    return claim


def write(path: Path, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def commit(claim: Claim) -> bool:
    if claim.mailbox.folders:
        return claim.commit_folder(FACTS)
    return claim.commit_file({"schema": "any.v1", "answer": answer(claim.id)})


def recover(box: Mailbox) -> None:
    """What an agent does when it starts: clean up, then work through what can be claimed."""
    tidy(box)
    for claim in box.claims():
        commit(begin(claim))


# -- the jobs -----------------------------------------------------------------------------------------------


def _put(scene: Scene) -> Act:
    return lambda: scene.put("r1")


def _put_again(scene: Scene) -> Act:
    scene.put("r1")
    return lambda: scene.put("r1")


def _put_answered(scene: Scene) -> Act:
    commit(begin(scene.held()))
    return lambda: scene.put("r1")


def _put_many(scene: Scene) -> Act:
    scene.put("r2")
    ids = ["r1", "r2", "r3"]

    def act() -> object:
        new = scene.box.put_many([(id, request(scene.kind, id)) for id in ids])
        for id in ids:
            scene.note(id)
        return new

    return act


def _claim(scene: Scene) -> Act:
    scene.put("r1")
    return lambda: scene.take()


def _claim_again(scene: Scene) -> Act:
    """The claim of a request whose last worker was killed at work, and the one before it failed."""
    _failed(scene, 1)
    begin(scene.take() or scene.held()).close()
    return lambda: scene.take()


def _begin(scene: Scene) -> Act:
    claim = scene.held()
    return lambda: claim.begin()


def _work(scene: Scene) -> Act:
    claim = scene.held()
    return lambda: begin(claim)


def _commit(scene: Scene) -> Act:
    _failed(scene, 1)
    claim = begin(scene.take() or scene.held())
    return lambda: commit(claim)


def _failed(scene: Scene, times: int) -> None:
    scene.put("r1")
    for _ in range(times):
        begin(scene.take() or scene.held()).fail(ERROR)
    scene.claim = None


def _fail(scene: Scene) -> Act:
    claim = begin(scene.held())
    return lambda: claim.fail(ERROR)


def _fail_last(scene: Scene) -> Act:
    _failed(scene, TRIES - 1)
    claim = begin(scene.take() or scene.held())
    return lambda: claim.fail(ERROR)


def _give_up(scene: Scene) -> Act:
    claim = begin(scene.held())
    return lambda: claim.give_up("refused", "it is not to be done")


def _bury(scene: Scene) -> Act:
    scene.put("r1")
    return lambda: scene.box.bury("r1", "request", "it is not to be done")


def _release(scene: Scene) -> Act:
    claim = begin(scene.held())
    return lambda: claim.release()


def _revive(scene: Scene) -> Act:
    _failed(scene, TRIES)
    return lambda: scene.box.revive("r1")


def _withdraw(scene: Scene) -> Act:
    scene.put("r1")
    return lambda: scene.box.withdraw("r1")


def _answered(scene: Scene) -> None:
    """r1 as it lies there when its worker is killed right after the reply."""
    inbox, work = scene.box.folder / "inbox", scene.box.work("r1")
    claim = begin(scene.held())
    data = (inbox / "r1.json").read_bytes()
    commit(claim)
    write(inbox / "r1.json", data.decode())
    (work / "try-1").mkdir(parents=True)
    write(work / "try-1" / "crash.json", "{}")


def _clean_up(scene: Scene) -> Act:
    _answered(scene)
    return lambda: scene.take()


def _tidy(scene: Scene) -> Act:
    _answered(scene)
    (scene.box.folder / "inbox/r1.json").unlink()
    return lambda: tidy(scene.box)


JOBS: dict[str, Callable[[Scene], Act]] = {
    "put": _put,
    "put again": _put_again,
    "put what is answered": _put_answered,
    "put_many": _put_many,
    "claim": _claim,
    "claim after a death": _claim_again,
    "begin": _begin,
    "work": _work,
    "commit": _commit,
    "fail": _fail,
    "fail for the last time": _fail_last,
    "give_up": _give_up,
    "bury": _bury,
    "release": _release,
    "revive": _revive,
    "withdraw": _withdraw,
    "clean-up": _clean_up,
    "tidy": _tidy,
}
OF_STEPS = ("begin", "work")  # a service begins nothing: it makes a folder only for a failed try
MAY_DIE = ("fail for the last time", "give_up", "bury", "revive")  # they make, or begin with, a dead letter


def jobs_of(kind: Kind) -> list[str]:
    return [name for name in JOBS if kind.folders or name not in OF_STEPS]
