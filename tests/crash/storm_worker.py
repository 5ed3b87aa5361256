"""A worker of the storms: a program like an agent, kept alive by a Supervisor.

    python -m tests.crash.storm_worker FOLDER step|service SEED

What it does with a request is said in the request, under `then`: answer (the default), `die`, `slow`, or
`child` – its first try starts a process that holds the claim, too, and waits for it.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from agents._beat import Beat
from agents._run import tidy
from bus.claim import Claim
from bus.mailbox import Mailbox
from bus.wake import Bell

FACTS = {"read": {}, "seconds": 0.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0}
PAUSES_S = (0.0, 0.005, 0.03)  # of one answer: kills should hit all of claim, work and commit
SLOW_S = 0.5
CHILD_S = 0.7  # longer than a restart, so that the new worker finds the request held


class Stopped(BaseException):
    """SIGTERM, or the supervisor is gone."""


def box(folder: Path, kind: str) -> Mailbox:
    """The mailbox of a storm: any JSON object is a request."""
    folders = kind == "step"
    return Mailbox(folder, folders=folders, request=None, reply="reply.v1" if folders else None, durable=False)


def answer(id: str) -> str:
    """What a whole reply to `id` says."""
    return hashlib.sha256(id.encode()).hexdigest() * 20


class Worker:
    """Serves one mailbox until it is stopped, as agents._agent does."""

    def __init__(self, folder: Path, kind: str, seed: str) -> None:
        self.mailbox, self.chance = box(folder, kind), random.Random(seed)
        self.stopping = self.working = False
        self.claim = ""
        self.bell = Bell([folder / "inbox"])
        signal.signal(signal.SIGTERM, self.stop)
        self.beat = Beat(lambda: {"claim": self.claim or None, "age_s": 0.0}, self.gone)

    def gone(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(self, *_: object) -> None:
        self.stopping = True
        self.bell.ring()
        if self.working:
            self.working = False
            raise Stopped

    def run(self) -> None:
        tidy(self.mailbox)
        with self.bell:
            while not self.stopping:
                for claim in self.mailbox.claims():
                    if self.stopping:
                        claim.release()
                        break
                    self.attempt(claim)
                self.bell.wait()

    def attempt(self, claim: Claim) -> None:
        self.claim = claim.id
        try:
            self.working = True
            if self.stopping:
                raise Stopped
            document = self.work(claim)
            self.working = False
            if claim.mailbox.folders:
                claim.commit_folder(FACTS)
            else:
                claim.commit_file(document)
        except Stopped:
            claim.fail({"kind": "stopped", "message": "asked to stop", "where": claim.id})
        finally:
            self.working, self.claim = False, ""

    def work(self, claim: Claim) -> dict[str, str]:
        folder, then = claim.begin() if claim.mailbox.folders else None, claim.request.get("then")
        if folder and then != "die":
            (claim.work / "kept" / folder.name).touch()  # it is killed often, and gets on each time: no poison
        if then == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if then == "child" and folder and folder.name == "try-1":
            hold(claim)
        text, pause = answer(claim.id), SLOW_S if then == "slow" else self.chance.choice(PAUSES_S)
        if folder:
            with open(folder / "out" / "answer.txt", "w") as file:
                file.write(text[:400])
                file.flush()
                time.sleep(pause)
                file.write(text[400:])
        else:
            time.sleep(pause)
        return {"schema": "any.v1", "answer": text}


def hold(claim: Claim) -> None:
    """Start a child that holds the claim, too, and ends by itself; a SIGTERM to the group does not end it."""
    argv = ["sh", "-c", f"trap '' TERM; exec sleep {CHILD_S}"]
    subprocess.run(argv, pass_fds=[claim.descriptor], check=False)


if __name__ == "__main__":
    Worker(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).run()
