"""A goal and a config that run the whole pipeline, with real training, in under a minute."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = ROOT / "bin" / "pipeline"
GOAL = """---
name: {name}
base: embedded
sources: ["pydoc:subprocess", "pydoc:signal", "pydoc:threading", "catalogue:errno"]
examples: 300
seed: 11
---
# A small goal for the tests

## Topics
- **Processes**: subprocess, Popen, run, pipes, return codes
- **Threads**: threading, Lock, Event, Thread
- **Signals**: signal numbers and handlers
- **System errors**: errno names and what they mean
"""
DEDUPE = """import json, shutil, sys
reads = json.load(open(sys.argv[1]))["reads"]
shutil.copy(reads["40-filter/train.jsonl"], sys.argv[2] + "/train.jsonl")
"""
SETTINGS = {
    "30-generate": {"scale": {"families": 110, "fewest": 60, "of_a_kind": 5}},
    "40-filter": {"minimum": {"taught": 10, "unseen": 3, "general": 10}},
    "50-train": {
        "base": {"tokens": 4096, "hidden": 32, "layers": 1, "vocabulary": 512},
        "sft": {"epochs": 1, "save_steps": 5},
    },
}


def write_goal(folder: Path, name: str = "tiny", text: str = GOAL) -> Path:
    path = folder / f"{name}.md"
    path.write_text(text.format(name=name))
    return path


def write_config(folder: Path, **changes: dict) -> Path:
    """The shipped flow with small settings and a step of somebody else's in it; `changes` are merged into the flow."""
    swarm = yaml.safe_load((ROOT / "config" / "swarm.yaml").read_text())
    rows = ["40-filter/train.jsonl"]
    copy = {"command": ["python3", "-c", DEDUPE], "reads": rows, "writes": {"train.jsonl": "row.v1"}}
    swarm["flow"]["45-dedupe"] = copy
    reads = swarm["flow"]["50-train"]["reads"]
    reads[reads.index(rows[0])] = "45-dedupe/train.jsonl"
    for step, settings in SETTINGS.items():
        swarm["flow"][step]["settings"] = settings
    swarm["flow"].update(changes)
    config = folder / "config"
    config.mkdir()
    (config / "swarm.yaml").write_text(yaml.safe_dump(swarm))
    return config


def command(goal: Path, runs: Path, config: Path, *more: str) -> list[str]:
    return [str(PIPELINE), str(goal), "--runs", str(runs), "--config", str(config), *more]


def run(goal: Path, runs: Path, config: Path, *more: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """bin/pipeline to its end, with what it printed."""
    return subprocess.run(command(goal, runs, config, *more), capture_output=True, text=True, timeout=seconds)


def command_of(name: str, *arguments: object) -> str:
    """Run bin/NAME, which must exit 0; returns what it printed."""
    argv = [str(ROOT / "bin" / name), *map(str, arguments)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def start(goal: Path, runs: Path, config: Path, *more: str) -> subprocess.Popen[str]:
    """bin/pipeline in a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        command(goal, runs, config, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes(folder: Path) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every process that names a run's folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(folder) in line:
                yield int(entry.name), line


def kill(folder: Path, what: str) -> bool:
    """SIGKILL the first process of a run whose command line holds `what`; False if there is none."""
    for pid, line in processes(folder):
        if what in line:
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def wait_for(path: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def artifacts(run: Path, step: str, round: int = 1) -> dict[str, bytes]:
    """Every artifact of a step's reply, but not the reply itself, which tells times."""
    folder = run / step / "outbox" / f"r{round}"
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    del found["reply.json"]
    return found
