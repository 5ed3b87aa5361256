"""The mailboxes of the trials, the work that is done in them, and what an answer must be."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from bus.claim import Claim
from bus.files import BadFile, sha256
from bus.mailbox import Mailbox
from bus.schema import Invalid

KINDS = ("service", "step")
STEP = "10-shared"  # the name of every step here: a request says for which step it is meant


def box(point: Path, name: str, kind: str) -> Mailbox:
    """The mailbox of one trial below a mount, as an agent would open it."""
    folders = kind == "step"
    return Mailbox(point / name / STEP, folders=folders, request=None, reply="reply.v1" if folders else None)


def question(id: str) -> dict[str, Any]:
    return {"schema": "any.v1", "id": id}


def answer(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest() * 40


def prepare(claim: Claim) -> None:
    """All of the work but the commit."""
    if claim.mailbox.folders:
        folder = claim.begin()
        (claim.work / "kept" / f"{folder.name}-{os.getpid()}").touch()  # killed often, it is still no poison
        (folder / "out" / "answer.txt").write_text(answer(claim.id))


def commit(claim: Claim) -> bool:
    """True if this is the reply, False if there was one. No two commits write the same bytes: a second would show."""
    now = time.monotonic()
    if claim.mailbox.folders:
        return claim.commit_folder({"read": {}, "seconds": now, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0})
    return claim.commit_file({"schema": "any.v1", "answer": answer(claim.id), "by": os.getpid(), "at": now})


def whole(mailbox: Mailbox, id: str) -> str:
    """How a reply is not what it must be, in words; "" if it is."""
    try:
        if (reply := mailbox.reply(id)) is None:
            return "no reply"
        if not mailbox.folders:
            return "" if reply["answer"] == answer(id) else "another answer"
        text = (mailbox.folder / "outbox" / id / "answer.txt").read_bytes()
    except (OSError, BadFile, Invalid) as error:
        return str(error)
    right = sha256(text) == reply["artifacts"]["answer.txt"]["sha256"]
    return "" if right and text.decode() == answer(id) else "another artifact"


def reply_bytes(folder: Path, kind: str, id: str) -> bytes:
    """A reply as it lies in a mailbox's folder, for comparing."""
    return (folder / "outbox" / (f"{id}/reply.json" if kind == "step" else f"{id}.json")).read_bytes()
