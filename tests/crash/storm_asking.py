"""Asking at once: many claimants of one mailbox, putters with the same IDs, and looks at what is due in a run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from bus import files
from bus.mailbox import Conflict
from bus.run import Run
from tests.crash import storm_processes as processes
from tests.crash import storm_run
from tests.crash.storm_serve import serve
from tests.crash.storm_worker import FACTS, box
from tests.small import replies

PUTTERS = 4
MOST_TWICE = 1  # of some thousand looks: the moment between a look for a reply and the request's name is microseconds


# -- claiming -----------------------------------------------------------------------------------------------


def claiming(folder: Path, kind: str, claimants: int, requests: int) -> list[str]:
    """Many processes drain one mailbox at once; each notes what it claimed before it lets go. To be run `apart`."""
    with closing(box(folder, kind)) as mailbox:
        mailbox.put_many((f"m{n}", {"schema": "any.v1"}) for n in range(requests))
        gate, hand = os.pipe()
        won = os.open(f"{folder}.won", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for _ in range(claimants):
            processes.fork(claimant, folder, kind, gate, hand, won)
        os.close(hand)  # the gate opens when the last holder of its other end closes it: all start at once
        codes = [os.waitpid(-1, 0)[1] for _ in range(claimants)]
        winners, listing = Counter(Path(f"{folder}.won").read_text().split()), mailbox.listing()
    broken = [f"{kind}: {id}: {count} winners" for id, count in winners.items() if count != 1]
    if any(codes) or len(winners) != requests or len(listing.replies) != requests or listing.requests:
        broken.append(f"{kind}: codes {codes}, {len(winners)} winners, {len(listing.replies)} replies of {requests}")
    return broken


def claimant(folder: Path, kind: str, gate: int, hand: int, won: int) -> None:
    os.close(hand)
    with closing(box(folder, kind)) as mailbox:
        os.read(gate, 1)
        while mailbox.listing().pending:
            for claim in mailbox.claims():
                os.write(won, f"{claim.id}\n".encode())
                answer(claim, kind)


def answer(claim: Any, kind: str) -> bool:
    """The shortest answer that a request may get."""
    if kind == "service":
        return bool(claim.commit_file({"schema": "any.v1"}))
    claim.begin()
    return bool(claim.commit_folder(FACTS))


def join(pids: list[int]) -> None:
    """Wait for processes to end; raises RuntimeError if one failed."""
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(codes):
        raise RuntimeError("a process failed; its traceback is above")


# -- putting ------------------------------------------------------------------------------------------------


def document(id: str, content: int) -> dict[str, Any]:
    return {"schema": "any.v1", "id": id, "content": content}


def ask(folder: Path, kind: str, id: str, content: int) -> str:
    """ "new", "same" or "conflict"."""
    with closing(box(folder, kind)) as mailbox:
        try:
            return "new" if mailbox.put(id, document(id, content)) else "same"
        except Conflict:
            return "conflict"


def putting(folder: Path, kind: str, ids: int, seed: int) -> dict[str, Any]:
    """4 putters with 1 to 4 contents for each ID, each in an order of its own, while two answer. To be run `apart`."""
    chance = random.Random(seed)
    contents = {f"m{n}": 1 + n % PUTTERS for n in range(ids)}
    gate, hand = os.pipe()
    agents = [processes.fork(answering, folder, kind, hand) for _ in range(2)]
    putters = [
        processes.fork(putter, folder, kind, who, contents, chance.sample(list(contents), ids), (gate, hand))
        for who in range(PUTTERS)
    ]
    os.close(hand)
    join(putters)
    processes.wait(
        lambda: len(os.listdir(folder / "outbox")) == ids and not os.listdir(folder / "inbox"), "all answers"
    )
    Path(f"{folder}.over").touch()
    join(agents)
    said = [json.loads(Path(f"{folder}.said-{who}").read_text()) for who in range(PUTTERS)]
    broken, twice = [], 0
    with closing(box(folder, kind)) as mailbox:
        for id, count in contents.items():
            reply, heard = mailbox.reply(id), [one[id] for one in said]
            assert reply is not None, "all were waited for"
            right = reply["request_sha256"]
            won = [files.sha256(files.canonical(document(id, who % count))) == right for who in range(PUTTERS)]
            twice += heard.count("new") > 1  # asked again where it had just been answered; that is cleaned up
            if "new" not in heard or [one != "conflict" for one in heard] != won:
                broken.append(f"{kind}: {id}: answered is the question of {won}, the putters heard {heard}")
    return {"broken": broken, "twice": twice}


def putter(folder: Path, kind: str, who: int, contents: dict[str, int], ids: list[str], pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    os.read(pipe[0], 1)
    said = {id: ask(folder, kind, id, who % contents[id]) for id in ids}
    Path(f"{folder}.said-{who}").write_text(json.dumps(said))


def answering(folder: Path, kind: str, hand: int) -> None:
    os.close(hand)
    with closing(box(folder, kind)) as mailbox:
        while not Path(f"{folder}.over").exists():
            for claim in mailbox.claims():
                answer(claim, kind)
            time.sleep(0.001)


# -- what is due --------------------------------------------------------------------------------------------


class Noted(Run):
    """A run whose every look at what is due is noted: what it put, and what it set aside."""

    log = -1

    def advance(self) -> Any:
        progress = super().advance()
        for what in ("put", "stale"):
            for step, id in getattr(progress, what):
                os.write(self.log, f"{what} {step} {id}\n".encode())
        return progress


def excess(counts: Counter[str]) -> int:
    return sum(count - 1 for count in counts.values())


def advancing(folder: Path, rounds: int, edits: int, seed: int) -> dict[str, Any]:
    """3 processes look at what is due, a fourth works, and the goal changes now and then. To be run `apart`."""
    run, chance = storm_run.make(folder / "runs", rounds), random.Random(seed)
    over, log = folder / "over", folder / "log"
    Noted.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lookers = [processes.fork(looking, run, over, folder / f"looks-{n}") for n in range(2)]
    worker = processes.fork(working, run, folder, over)
    for n in range(edits):
        time.sleep(chance.uniform(0.0, 0.3))
        files.replace(run / "goal.md", storm_run.GOAL.encode() + f"\nEdit {n}.\n".encode())
    goal = hashlib.sha256((run / "goal.md").read_bytes()).hexdigest()

    def settled() -> bool:
        if any(code for _, code in processes.reap()):
            raise RuntimeError(f"a process failed: {(folder / 'said').read_text()}")
        with closing(Run(run)) as opened:
            made, _ = opened.listings()
            fresh = all(reply["read"].get("goal.md", goal) == goal for reply in made.values())
            return fresh and len(made) == len(storm_run.STEPS) * rounds and replies(run) == storm_run.expected(rounds)

    processes.wait(settled, "every reply is made from the goal as it is")
    over.touch()
    join([*lookers, worker])
    left = [str(one.relative_to(run)) for part in ("inbox", "work", "dead") for one in run.glob(f"*/{part}/[!.]*")]
    counts = Counter(log.read_text().splitlines())
    broken = [f"left over: {left}"] if left else []
    if edits == 0:  # one that is put again in the moment of its answer is taken away by the next claim: none is left
        broken += [f"{what}: {count} times" for what, count in counts.items() if count > 2]
        broken += [f"{len(counts)} were put, {twice} of them twice" for twice in [excess(counts)] if twice > MOST_TWICE]
    looks = sum(int((folder / f"looks-{n}").read_text()) for n in range(2))
    aside = sum(count for what, count in counts.items() if what.startswith("stale"))
    return {"looks": looks, "put": sum(counts.values()) - aside, "aside": aside, "broken": broken}


def working(run: Path, folder: Path, over: Path) -> None:
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 2)  # a step fails, and is tried again, where its input is set aside while it reads
    serve(Noted(run), folder / "config", over.exists)


def looking(run: Path, over: Path, result: Path) -> None:
    looks = 0
    with closing(Noted(run)) as opened:
        while not over.exists():
            opened.advance()
            looks += 1
    result.write_text(str(looks))
