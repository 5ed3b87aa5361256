"""Putters and workers at both clients, on one mailbox, killed at random; then a client itself; and what is left."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from agents._run import tidy
from tests.crash.storm_processes import fork
from tests.sharedfs.box import KINDS, box, commit, prepare, question, reply_bytes
from tests.sharedfs.children import end
from tests.sharedfs.filesystem import HOSTS, FileSystem
from tests.sharedfs.locks import reaches
from tests.sharedfs.notes import DIED, Notes, at_once, held
from tests.sharedfs.remains import Remains
from tests.sharedfs.row import EXACTLY_ONE, TWICE, Row

REQUESTS, KILLS = 120, 16  # of each kind
PATIENCE_S = 60.0  # until all are answered, past what a client's own cache delays; ten are usual
PAUSE_S = 0.02  # a worker's between two looks
MEET_S = 0.3  # that the processes of a dead client have to meet it


def run(fs: FileSystem, seed: int = 1) -> Iterator[Row]:
    reach, cells, details, broken, twice = reaches(fs), 0, [], [], 0
    for kind in KINDS:
        storm = Storm(fs, kind, random.Random(seed))
        storm.blow()
        remains = Remains(fs, storm.name, kind, storm.seen)
        acknowledged = {id for host in HOSTS for id in storm.acknowledged(host).read_text().split()}
        broken += [f"{kind}: {why}" for why in remains.broken(acknowledged)]
        cells += len(storm.seen) - len(remains.bad)
        details.append(f"{kind}: {storm.summary()}; {remains.failures} failures recorded")
        twice += len(at_once(held(storm.notes, storm.deaths)))
    asked = len(KINDS) * REQUESTS
    yield Row(EXACTLY_ONE, f"{cells} of {asked}", "; ".join(details), "; ".join(broken))
    detail = f"{twice} of {asked} requests were held by two at once"
    yield Row(TWICE, f"{twice} of {asked}", detail, f"although the lock reaches: {detail}" if twice and reach else "")


class Storm:
    """All processes of one storm, and every reply as it was first seen."""

    def __init__(self, fs: FileSystem, kind: str, chance: random.Random) -> None:
        self.fs, self.kind, self.chance, self.name = fs, kind, chance, f"storm-{kind}"
        ids = [f"m{n}" for n in range(REQUESTS)]
        self.shares = {"A": ids[: REQUESTS * 2 // 3], "B": ids[REQUESTS // 3 :]}  # a third is asked at both
        self.notes = Notes(fs.folder / f"notes-{kind}")
        self.running: dict[int, tuple[str, str]] = {}  # pid -> host, role
        self.deaths: dict[int, float] = {}  # pid -> when it was surely dead
        self.seen: dict[str, bytes] = {}
        self.killed = 0
        self.client_down_s = 0.0

    def blow(self) -> None:
        box(self.fs.folder / "A", self.name, self.kind).close()
        for host in HOSTS:
            self.start(host, "putter")
            self.start(host, "worker")
        end_s = time.monotonic() + PATIENCE_S + self.fs.stale_s
        while not self.over() and time.monotonic() < end_s:
            time.sleep(self.chance.uniform(0.05, 0.2))
            if self.killed < KILLS:
                self.kill(self.chance.choice(list(self.running)))
            self.reap()
            if not self.client_down_s and len(self.seen) > REQUESTS // 3:
                self.kill_client()
        for pid in list(self.running):
            self.bury(pid)

    def over(self) -> bool:
        """True once all is asked and answered; notes new replies, by their bytes as soon as they are seen."""
        mailbox = box(self.fs.clear_view(), self.name, self.kind)
        try:
            look = mailbox.listing()
            for id in look.replies - self.seen.keys():
                with contextlib.suppress(FileNotFoundError):  # no reply then: it will be missed at the end
                    self.seen[id] = reply_bytes(mailbox.folder, self.kind, id)
        finally:
            mailbox.close()
        asking = any(role == "putter" for _, role in self.running.values())
        return len(self.seen) == REQUESTS and not look.requests and not asking

    def summary(self) -> str:
        ends = ", ".join(f"{count} {what}" for what, count in self.notes.ends().most_common())
        return (
            f"{len(self.seen)} replies, read at A, at B and on the servers' disks; {self.killed} workers and putters "
            f"killed; A's client killed, back after {self.client_down_s:.1f} s; claims ended: {ends}"
        )

    # -- what the processes do ------------------------------------------------------------------------------

    def play(self, host: str, role: str, chance: random.Random) -> None:
        try:
            if role == "putter":
                self.put(host)
            else:
                self.work(host, chance)
        except OSError as error:
            self.notes.write(DIED, _said(error))
            raise

    def put(self, host: str) -> None:
        """Put this host's share; each is noted as acknowledged only after `put` has returned."""
        mailbox = box(self.fs.folder / host, self.name, self.kind)
        noted = os.open(self.acknowledged(host), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for id in self.shares[host]:
            mailbox.put(id, question(id))
            os.write(noted, f"{id}\n".encode())

    def acknowledged(self, host: str) -> Path:
        return self.fs.folder / f"acknowledged-{self.kind}-{host}"

    def work(self, host: str, chance: random.Random) -> None:
        """Serve for ever, as an agent does: an error is recorded as a failure of the try."""
        mailbox = box(self.fs.folder / host, self.name, self.kind)
        tidy(mailbox)
        while True:
            for claim in mailbox.claims():
                self.notes.write(claim.id, "began")
                try:
                    prepare(claim)
                    time.sleep(chance.choice([0.0, 0.0, 0.01]))
                    self.notes.write(claim.id, "new" if commit(claim) else "late")
                except OSError as error:
                    self.notes.write(claim.id, _said(error))
                    claim.fail({"kind": "error", "message": _said(error), "where": "storm"})
            time.sleep(PAUSE_S)

    # -- how they begin and end -----------------------------------------------------------------------------

    def start(self, host: str, role: str) -> None:
        self.chance.shuffle(self.shares[host])
        self.running[fork(self.play, host, role, random.Random(self.chance.random()))] = host, role

    def kill(self, pid: int) -> None:
        host, role = self.bury(pid)
        self.killed += 1
        self.start(host, role)

    def bury(self, pid: int) -> tuple[str, str]:
        end(pid)
        self.deaths[pid] = time.monotonic()
        return self.running.pop(pid)

    def reap(self) -> None:
        """Bury what ended by itself; what ended by an error is started again."""
        for pid, (host, role) in list(self.running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.deaths[pid] = time.monotonic()
                del self.running[pid]
                if status:
                    self.start(host, role)

    def kill_client(self) -> None:
        """The mount of A dies while its processes work on; they die of that, and begin again once it is back."""
        began = time.monotonic()
        self.fs.kill_client("A")
        time.sleep(MEET_S)
        for pid in [pid for pid, (host, _) in self.running.items() if host == "A"]:
            self.bury(pid)
            self.deaths[pid] = began  # with the client its locks are gone, and nothing that it does arrives
        self.fs.mount_again("A")
        self.client_down_s = time.monotonic() - began
        for role in ("putter", "worker"):
            self.start("A", role)


def _said(error: OSError) -> str:
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0)})"
