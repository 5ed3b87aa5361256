"""Take stock before a round: what the run holds and whether it is whole, what the machine has, what memory knows.

    bin/agent orient runs/gpu-ops --once

Reads   goal.md
        before/80-improve/next.json   what this round is to change
Writes  state.json      state.v1: every request so far, its state, and what is wrong with its reply
        hardware.json   hardware.v1: cores, memory, disk, GPUs, library versions; never a host's name
        recalled.json   recalled.v1: the observations of earlier rounds and runs that matter for this goal
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from agents import _recall
from agents._agent import free_bytes, main
from agents._goal import Goal
from agents._job import Job
from agents._original import RECALLED
from bus import files, schema
from bus.mailbox import order
from bus.run import Run
from training import gpu

LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "nvidia-ml-py")


def orient(job: Job) -> None:
    job.read("goal.md")
    job.read("before/80-improve/next.json")  # the round begins because of it
    state = stock(job.run, job.round)
    job.write("state.json", state)
    hardware = machine(job.run.folder, use_gpus=job.config.infra["gpus"] != "none")
    job.write("hardware.json", hardware)
    told = job.original and job.original.read(RECALLED, "recalled.v1")  # a replay knows what its original knew
    recalled, problems = (
        (told["observations"], [])
        if told
        else recalled_for(job.goal, job.run.folder, job.round, job.run.document["name"])
    )
    job.write("recalled.json", {"schema": "recalled.v1", "observations": recalled})
    gpus = f"{len(hardware['gpus'])} GPUs" if hardware["gpus"] else "no GPU"
    job.say(f"{state['class']}; {hardware['cpus']} cores, {gpus}; {len(recalled)} observations recalled")
    for problem in problems:
        job.say(problem)


def recalled_for(goal: Goal, folder: Path, round: int, name: str) -> tuple[list[_recall.Observation], list[str]]:
    """(the observations that matter for a goal, what is wrong with the memory's files), for the run in `folder`."""
    known, problems = _recall.gather(folder, round)
    topics = [word for topic in goal.topics for word in (topic.slug, topic.title)]
    return _recall.recall(known, topics, run=name), problems


def stock(run: Run, round: int) -> dict[str, Any]:
    """state.v1: every known request of every step but this round's orientation, and what is wrong with its reply."""
    rows, whole = [], True
    for step in run.steps:
        mailbox = run.mailbox(step.name)
        look = mailbox.listing()
        for id in sorted(look.requests | look.replies | look.dead, key=order):
            if step.agent == "orient" and id == f"r{round}":
                continue
            problems = damage(run, step.name, id) if id in look.replies else []
            whole = whole and not problems
            rows.append({"step": step.name, "id": id, "state": mailbox.state(id) or "waiting", "problems": problems})
    found = "damaged" if not whole else "going on" if any(row["state"] == "done" for row in rows) else "fresh"
    return {"schema": "state.v1", "round": round, "class": found, "steps": rows}


def damage(run: Run, step: str, id: str) -> list[str]:
    """What is wrong with a reply: each artifact that is missing, changed or added; [] for a whole one."""
    folder = run.folder / step / "outbox" / id
    try:
        reply = run.mailbox(step).reply(id)
    except (files.BadFile, schema.Invalid) as error:
        return [str(error)]
    if reply is None:
        return [f"{folder.name}: has no reply.json"]
    problems = []
    for name, known in reply["artifacts"].items():
        try:
            if files.sha256_file(folder / files.inside(name)) != known["sha256"]:
                problems.append(f"{name}: its bytes have changed since it was replied")
        except FileNotFoundError:
            problems.append(f"{name}: is missing")
        except files.BadFile as error:
            problems.append(str(error))
    present = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    problems += [f"{name}: was added after the reply" for name in sorted(present - {"reply.json", *reply["artifacts"]})]
    return problems


def machine(folder: Path, use_gpus: bool) -> dict[str, Any]:
    """hardware.v1 of this machine."""
    return {
        "schema": "hardware.v1",
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_free_bytes": free_bytes(folder),
        "gpus": gpu.gpus() if use_gpus else [],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    raise SystemExit(main(orient))
