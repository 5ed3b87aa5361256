"""Serve a step with any executable: `command:` in swarm.yaml.

    bin/agent 45-dedupe runs/gpu-ops --once

The command runs in the run's folder. Its last two arguments are the paths of its request and of its out/ folder. The
request names, under `reads`, where each input lies, relative to the run. Exit 0: what is in out/ becomes the reply;
1: failed, tried again; 100: given up. The command itself comes from this machine's config, never from a run: a program
with a slash in its name, and every word that begins with ./ or ../ or names a file of the checkout, is taken from it.
It sees no process but its own, and no environment but the harmless part of ours (agents/sandbox/environment.py),
and files that hold keys read as empty: those that infra.yaml names, and itself where a server's key stands in it.
"""

from __future__ import annotations

import sys

from agents._agent import main
from agents._job import ROOT, GiveUp, Job
from agents.sandbox.apart import apart, why_not
from bus import files, flow


def command(job: Job) -> None:
    entry = job.config.flow.get(job.step, {})
    argv = entry.get("command")
    if not argv:
        raise GiveUp(f"{job.step}: its command is not in {job.config.folder / 'swarm.yaml'}; add the step there")
    request = {**job.request, "reads": inputs(job)}
    path = job.out.parent / "request.json"
    path.write_bytes(files.pretty(request))
    if why := why_not():
        job.say(f"the command sees other processes, and what they hold: {why}")
    before = [] if why else apart(job.config.hidden)
    job.spawn([*located(argv), str(path), str(job.out)], cwd=job.run.folder, before=before)


def located(argv: list[str]) -> list[str]:
    """The command with its relative paths made absolute: in a run's folder they would name files of that run."""
    return [
        str(ROOT / word)
        if word.startswith(("./", "../")) or ("/" in word and (at == 0 or (ROOT / word).exists()))
        else word
        for at, word in enumerate(argv)
    ]


def inputs(job: Job) -> dict[str, str]:
    """{name: path relative to the run} of everything that the step reads, each checked and noted."""
    found = {}
    for pattern in job.flow.reads:
        for name in job.glob(pattern) if flow.source(pattern) else [pattern]:
            if (file := job.path(name)) is not None:
                found[name] = str(file.relative_to(job.run.folder))
    return found


if __name__ == "__main__":
    sys.exit(main(command, agent="_command"))
