"""A small real run for the storms: two chained steps, one that tells the memory service, and what must come of them.

Every artifact can be computed, so a run that was killed, copied or moved is compared with no other run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from agents import _recall
from agents._run import create_run
from bus import files
from bus.run import Run
from tests.small import GOAL, SERVICES

ROUND = "out=$2; round=${out%/try-*}; round=${round##*/}; last=20-sum/outbox/r$((${round#r} - 1))/sum.txt"
LIST = f"{ROUND}; FIRST; {{ echo $round; test ! -e $last || cat $last; }} >$out/list.txt"
SUM = f"{ROUND}; sha256sum <10-list/outbox/$round/list.txt >$out/sum.txt"
# What any program of a step may do: a hidden draft, then a link, which a request that is there already refuses.
TELL = f"""{ROUND}; given='TOLD'/$round; id=$(cat "$given.id"); draft=memory/inbox/.draft-$$
cp "$given.json" $draft; ln $draft memory/inbox/$id.json 2>$out/../ln.txt; rm $draft; echo $id >$out/told.txt"""
# Leaves a mark if another child of the same step, or what that has started, is at work.
ALONE = "exec 9>>../at-work; flock -n 9 || echo two at once >>../overlap"
STEPS = ("10-list", "20-sum", "30-tell")


def make(runs: Path, rounds: int, pause_s: float = 0.0, first: str = "true") -> Path:
    """A new run `runs`/storm with the config folder runs/../config; returns the run's folder.

    The first step does `first`, and then waits for `pause_s`.
    """
    flow = configure(runs.parent, rounds, f"{first}; sleep {pause_s}")
    run = create_run(runs / "storm", GOAL, 1, flow, SERVICES, str(rounds))
    run.advance()
    run.close()
    return run.folder


def configure(home: Path, rounds: int, first: str = "true") -> dict[str, Any]:
    """Write home/config and what the steps need beside it, as each machine has its own; returns the flow."""
    (home / "config").mkdir(parents=True)
    (home / "told").mkdir()
    for n in range(1, rounds + 1):
        document = derived(n)
        (home / "told" / f"r{n}.id").write_text(document["id"])
        (home / "told" / f"r{n}.json").write_bytes(files.canonical(document))
    tell = TELL.replace("TOLD", str(home.absolute() / "told"))
    flow = {
        "10-list": step(LIST.replace("FIRST", first), ["goal.md", "before/20-sum/sum.txt"], "list.txt"),
        "20-sum": step(SUM, ["10-list/list.txt"], "sum.txt"),
        "30-tell": step(tell, ["20-sum/sum.txt"], "told.txt"),
    }
    (home / "config" / "swarm.yaml").write_text(yaml.safe_dump({"flow": flow, "services": SERVICES}))
    return flow


def step(script: str, reads: list[str], writes: str) -> dict[str, Any]:
    return {"command": ["sh", "-c", script, "step"], "reads": reads, "writes": {writes: "text"}}


def derived(round: int) -> _recall.Observation:
    """What 30-tell asks of the memory in a round: its ID comes from its content, so asking twice is asking once."""
    return _recall.observation("result", "storm", round, [], f"round {round} was told", {})


def by_hand(n: int) -> _recall.Observation:
    """What a person asks of the memory."""
    return _recall.observation("recommendation", "storm", 1, [], f"a person says {n}", {})


def expected(rounds: int) -> dict[str, bytes]:
    """Every artifact of every step's reply, as tests.small.replies gives them."""
    found, last = {}, b""
    for n in range(1, rounds + 1):
        list_txt = f"r{n}\n".encode() + last
        last = f"{hashlib.sha256(list_txt).hexdigest()}  -\n".encode()
        found[f"10-list/outbox/r{n}/list.txt"] = list_txt
        found[f"20-sum/outbox/r{n}/sum.txt"] = last
        found[f"30-tell/outbox/r{n}/told.txt"] = f"{derived(n)['id']}\n".encode()
    return found


def missing(folder: Path, told: Iterable[_recall.Observation]) -> list[str]:
    """The observations that the memory of a run was asked to keep, and has not answered with exactly them."""
    lost = []
    with closing(Run(folder)) as run:
        for document in told:
            reply = run.mailbox("memory").reply(document["id"])
            if reply is None or reply["observation"] != document:
                lost.append(document["text"])
    return lost
