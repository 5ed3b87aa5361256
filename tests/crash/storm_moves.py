"""One move: a copy taken at a random moment of a busy run, and finished by another machine."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from agents import _child
from bus.run import Run
from tests.crash import storm_run
from tests.crash.storm_machine import DAY_S, MAPPED, NOBODY, Disguise, Machine, uptime
from tests.crash.storm_processes import fork, wait
from tests.crash.storm_serve import serve
from tests.processes import ROOT
from tests.small import replies

ROUNDS = 3
REPLIES = ROUNDS * len(storm_run.STEPS)
PAUSE_S = 0.04  # of each round, so that the run is busy while it is copied
ASKED_S = 0.015  # between two requests by hand: some wait in the inbox, some are answered, while it is copied
LATEST = 2 * REPLIES // 3  # bin/pack needs a moment to start
WAYS = ("pack", "sorted", "worst")  # bin/pack --live, tar --sort=name, a tar that reads each outbox first
WORST = ("outbox", "dead", "work", "inbox")  # the order that loses what moves on meanwhile
# What tar says of files that went away or changed while it read: a run that works.
BUSY = ("file changed as we read it", "File removed before we read it", "No such file", "previous errors")
SCRIPT = """
unpack
find runs -exec touch -h -d @STAMP {} +
finish >>said 2>&1
check
hostname; id -u; cut -d. -f1 /proc/uptime; PYTHON -c 'import time; print(int(time.time()))'
"""


@dataclass
class Copy:
    """An archive of a busy run: how it was made, how many requests by hand it must hold, and how much was done."""

    archive: Path
    way: str
    asked: int
    replies: int


def busy(here: Path, way: str, chance: random.Random) -> Copy:
    """Make a run, start it, keep asking by hand, copy it at a random moment, and remove it."""
    run = storm_run.make(here / "runs", ROUNDS, PAUSE_S)
    archive, log = here.parent / f"{here.name}.archive", here / "acknowledged"
    working = [fork(serving, run, here / "config"), fork(asking, run, log)]
    try:
        moment = chance.randrange(LATEST)
        wait(lambda: len(list(run.glob("*/outbox/r*"))) >= moment and log.exists(), f"{moment} replies")
        time.sleep(chance.uniform(0.0, PAUSE_S))
        acknowledged = log.stat().st_size
        copying = start(run, way, archive)
        told = copying.communicate(timeout=60)[1]
    finally:
        for pid in working:
            with suppress(ProcessLookupError):  # it has not come to its setsid yet
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    odd = [line for line in told.splitlines() if not any(one in line for one in BUSY)]
    if copying.returncode and (odd or way == "pack"):
        raise RuntimeError(f"{way}: exit {copying.returncode}: {told}")
    shutil.rmtree(here)
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    done = sum(name.endswith("/reply.json") and name.split("/")[-3] == "outbox" for name in names)
    return Copy(archive, way, max(acknowledged, listed(names)), done)


def listed(names: set[str]) -> int:
    """How many requests by hand were there when the memory's inbox was read: they were put one after another."""
    n = found = 0
    while n < found + 1000:
        found = n + 1 if f"storm/memory/inbox/{storm_run.by_hand(n)['id']}.json" in names else found
        n += 1
    return found


def asking(run: Path, log: Path) -> None:
    """Ask the memory again and again; one byte for each request that was acknowledged."""
    os.setsid()
    acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with closing(Run(run)) as opened:
        for n in count():
            document = storm_run.by_hand(n)
            opened.mailbox("memory").put(document["id"], document)
            os.write(acknowledged, b".")
            time.sleep(ASKED_S)


def serving(run: Path, config: Path) -> None:
    """Be every agent of a run, in a process group that ends with its children."""
    os.setsid()
    _child.adopt()
    serve(Run(run), config, lambda: False)


def start(run: Path, way: str, archive: Path) -> subprocess.Popen[str]:
    if way == "pack":
        argv = [sys.executable, str(ROOT / "bin/pack"), str(run), "--live", "--out", str(archive)]
    elif way == "sorted":
        argv = ["tar", "--sort=name", "-cf", str(archive), run.name]
    else:
        parts = [f"{run.name}/{box}/{part}" for part in WORST for box in (*storm_run.STEPS, "memory")]
        own = [f"{run.name}/{name}" for name in ("goal.md", "run.json", "ROUNDS", "supervisor")]
        argv = ["tar", "-cf", str(archive), *parts, *own]
    return subprocess.Popen(argv, cwd=run.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(machine: Machine, copy: Copy, disguise: Disguise, supervised: bool) -> tuple[int, list[str]]:
    """Unpack, finish and check a copy on the other machine; (requests by hand that are lost, what is not right)."""
    there = machine.home / copy.archive.stem
    storm_run.configure(there, ROUNDS)
    (there / "runs").mkdir()
    shutil.move(copy.archive, there / "archive")
    ended = machine.run(disguise, there, script(machine, copy, disguise, supervised))
    said = f"{ended.stderr[-400:]} {(there / 'said').read_text()[-400:] if (there / 'said').exists() else ''}"
    if ended.returncode:
        return 0, [f"exit {ended.returncode}: {ended.stdout[-300:]} {said}"]
    broken = disguised(ended.stdout.split()[-4:], disguise)
    run = there / "runs" / "moved"
    if replies(run) != storm_run.expected(ROUNDS):
        broken.append(f"the replies are not those that were expected: {sorted(replies(run))} {said}")
    broken += [f"never answered: {one}" for one in storm_run.missing(run, map(storm_run.derived, range(1, ROUNDS + 1)))]
    lost = storm_run.missing(run, map(storm_run.by_hand, range(copy.asked)))
    if copy.way != "worst":
        broken += [f"{copy.way}: never answered: {one}" for one in lost]
    left = [str(one.relative_to(run)) for part in ("inbox", "work", "dead") for one in run.glob(f"*/{part}/[!.]*")]
    broken += [f"left over: {left[:5]}"] if left else []
    owners = {path.lstat().st_uid for path in run.rglob("*")}
    broken += [f"the files belong to {owners}"] if owners != {disguise.owner()} else []
    shutil.rmtree(there)
    return len(lost), broken


def script(machine: Machine, copy: Copy, disguise: Disguise, supervised: bool) -> str:
    """What the other machine does."""
    python, commands = shlex.quote(str(machine.python)), shlex.quote(str(machine.checkout / "bin"))
    unpack = "tar -xf archive -C runs; mv runs/storm runs/moved"
    if copy.way == "pack":
        unpack = f"{python} {commands}/unpack archive --runs runs --name moved"
    finish = f"{python} -m tests.crash.storm_serve runs/moved config"
    if supervised:
        finish = f"{python} {commands}/supervise runs/moved --config config"
    told = SCRIPT.replace("STAMP", str(int(time.time()) + disguise.files_s)).replace("PYTHON", python)
    defined = {"unpack": unpack, "finish": finish, "check": f"{python} {commands}/check runs/moved"}
    return "\n".join(f"{name}() {{ {what}; }}" for name, what in defined.items()) + told


def disguised(facts: list[str], disguise: Disguise) -> list[str]:
    """What the other machine saw of itself, if that is not what it was meant to see."""
    host, uid, up, now = facts
    seen = (host, int(up) - uptime(), int(now) - time.time())
    near = abs(seen[1] - disguise.monotonic_s) < 60 and abs(seen[2] - disguise.jump_s) < 60
    right = near and host == "other" and uid == str(MAPPED if disguise.user == "mapped" else NOBODY)
    return [] if right else [f"the disguise failed: {facts} for {disguise}"]


def disguise(number: int, users: list[str], chance: random.Random) -> Disguise:
    """The next one: users in turn, every clock a day on or back (the monotonic one as far back as it goes)."""
    back = -int(min(DAY_S, uptime() * 0.9))
    days = (DAY_S, -DAY_S)
    return Disguise(users[number % len(users)], chance.choice([DAY_S, back]), chance.choice(days), chance.choice(days))
