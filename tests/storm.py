"""Putters and workers on one mailbox, killed at random moments, and what is left afterwards.

    python -m tests.storm kill FOLDER step|service KILLS SEED
    python -m tests.storm race FOLDER CLAIMANTS REQUESTS

Prints one JSON object. A program of its own, so that it forks from a single thread.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from bus.files import sha256_file
from bus.mailbox import Mailbox

REQUESTS = 400
PUTTERS, WORKERS = 2, 3
FACTS = {"read": {}, "seconds": 0.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0}


def box(folder: Path, kind: str) -> Mailbox:
    folders = kind == "step"
    return Mailbox(folder, folders=folders, request=None, reply="reply.v1" if folders else None, durable=False)


def answer(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest() * 20


def putter(folder: Path, kind: str, share: range) -> None:
    """Put a share of the requests; each is noted as acknowledged only after `put` has returned."""
    mailbox = box(folder, kind)
    acknowledged = os.open(folder / f"acknowledged-{share[0]}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for n in share:
        mailbox.put(f"m{n}", {"schema": "any.v1", "id": f"m{n}"})
        os.write(acknowledged, f"m{n}\n".encode())
        time.sleep(0.002)


def worker(folder: Path, kind: str, chance: random.Random) -> None:
    """Serve for ever; now and then slowly, now and then with a failure."""
    mailbox = box(folder, kind)
    mailbox.serve()
    while True:
        for claim in mailbox.claims():
            work(claim, kind, chance)
        time.sleep(0.005)


def work(claim, kind: str, chance: random.Random) -> None:
    if kind == "service":
        time.sleep(chance.choice([0.0, 0.0, 0.003]))
        claim.commit_file({"schema": "any.v1", "answer": answer(claim.id)})
        return
    folder = claim.begin()
    (claim.work / "kept" / folder.name).touch()  # each try keeps something new: it is killed often, and no poison
    text = answer(claim.id)
    with open(folder / "out" / "answer.txt", "w") as file:
        for start in range(0, len(text), 400):
            file.write(text[start : start + 400])
            time.sleep(chance.choice([0.0, 0.0, 0.001]))
    if chance.random() < 0.01 and folder.name == "try-1":
        claim.fail({"kind": "error", "message": "a bad day", "where": "storm"})
        claim.mailbox.postpone(claim.id, 0.0)
    else:
        claim.commit_folder(FACTS)


def fork(job, *arguments) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job(*arguments)
            code = 0
        finally:
            if code:
                os.write(2, traceback.format_exc()[-2000:].encode())
            os._exit(code)
    return pid


class Storm:
    """All processes of one storm, and every reply as it was first seen."""

    def __init__(self, folder: Path, kind: str, kills: int, seed: int) -> None:
        self.folder, self.kind, self.kills, self.chance = folder, kind, kills, random.Random(seed)
        self.mailbox = box(folder, kind)
        self.seen: dict[str, tuple[int, str]] = {}
        self.jobs: dict[int, tuple] = {}
        self.errors, self.revived, self.killed = 0, 0, 0

    def start(self, *job) -> None:
        self.jobs[fork(*job)] = job

    def run(self) -> dict:
        for n in range(PUTTERS):
            self.start(putter, self.folder, self.kind, range(n, REQUESTS, PUTTERS))
        for _ in range(WORKERS):
            self.start(worker, self.folder, self.kind, random.Random(self.chance.random()))
        end = time.monotonic() + 120
        while not self.over() and time.monotonic() < end:
            time.sleep(self.chance.uniform(0.003, 0.03))
            if self.killed < self.kills:
                self.kill(self.chance.choice(list(self.jobs)))
            self.reap()
            self.look()
        for pid in list(self.jobs):
            self.kill(pid, again=False)
        return self.result()

    def kill(self, pid: int, again: bool = True) -> None:
        job = self.jobs.pop(pid)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self.killed += os.WIFSIGNALED(status)
        if again:
            self.start(*job)

    def reap(self) -> None:
        """Start again what ended by an error of its own (which is counted)."""
        for pid, job in list(self.jobs.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self.jobs[pid]
                if job[0] is worker or len(self.acknowledged(job[3][0])) < len(job[3]):
                    self.errors += 1
                    self.start(*job)

    def look(self) -> None:
        """Note new replies; bring back what was unlucky enough to be killed five times in a row."""
        listing = self.mailbox.listing()
        for id in listing.replies - self.seen.keys():
            self.seen[id] = self.fingerprint(id)
        for id in listing.dead - listing.replies:
            letter = json.loads((self.folder / "dead" / f"{id}.json").read_bytes())
            if "died 5 times in a row" not in letter["message"]:
                raise SystemExit(f"given up for no good reason: {letter}")
            self.revived += 1
            self.mailbox.revive(id)

    def fingerprint(self, id: str) -> tuple[int, str]:
        path = self.folder / "outbox" / (f"{id}/reply.json" if self.kind == "step" else f"{id}.json")
        return path.stat().st_ino, sha256_file(path)

    def acknowledged(self, first: int) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return set((self.folder / f"acknowledged-{first}").read_text().split())
        return set()

    def over(self) -> bool:
        return self.killed >= self.kills and len(self.seen) == REQUESTS and not os.listdir(self.folder / "inbox")

    def result(self) -> dict:
        self.mailbox.serve()
        listing = self.mailbox.listing()
        asked = set().union(*(self.acknowledged(n) for n in range(PUTTERS)))
        return {
            "kills": self.killed,
            "errors": self.errors,
            "revived": self.revived,
            "lost": sorted(asked - listing.replies),
            "changed": sorted(id for id, mark in self.seen.items() if self.fingerprint(id) != mark),
            "broken": sorted(id for id in listing.replies if not self.whole(id)),
            "replies": len(listing.replies),
            "left": sorted(os.listdir(self.folder / "inbox")) + sorted(os.listdir(self.folder / "work")),
        }

    def whole(self, id: str) -> bool:
        reply = self.mailbox.reply(id)
        assert reply is not None
        if self.kind == "service":
            return reply["answer"] == answer(id)
        path = self.folder / "outbox" / id / "answer.txt"
        return reply["artifacts"]["answer.txt"]["sha256"] == sha256_file(path) and path.read_text() == answer(id)


def race(folder: Path, claimants: int, requests: int) -> dict:
    """Many processes drain one mailbox at once; each notes what it claimed before it lets go of the lock."""
    mailbox = box(folder, "service")
    for n in range(requests):
        mailbox.put(f"m{n}", {"schema": "any.v1"})
    gate, hand = os.pipe()
    won = os.open(folder / "won", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pids = [fork(claimant, folder, gate, hand, won) for _ in range(claimants)]
    os.close(hand)  # the gate opens when the last holder of its other end closes it: all start at once
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    names = (folder / "won").read_text().split()
    return {"codes": codes, "won": len(names), "distinct": len(set(names)), "left": os.listdir(folder / "inbox")}


def claimant(folder: Path, gate: int, hand: int, won: int) -> None:
    mailbox = box(folder, "service")
    os.close(hand)
    os.read(gate, 1)
    while mailbox.listing().pending:
        for claim in mailbox.claims():
            os.write(won, f"{claim.id}\n".encode())
            claim.commit_file({"schema": "any.v1", "by": os.getpid()})


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    if what == "kill":
        print(json.dumps(Storm(Path(where), more[0], int(more[1]), int(more[2])).run()))
    else:
        print(json.dumps(race(Path(where), int(more[0]), int(more[1]))))
