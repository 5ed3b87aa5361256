"""A small real run: three steps of shell, the memory service, and a config folder that can run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from agents._run import create_run

ROOT = Path(__file__).resolve().parent.parent
GOAL = (ROOT / "goals/gpu-ops.md").read_text("utf-8")
OBSERVATION = ROOT / "schemas/examples/observation.v1.json"
VERDICT = ROOT / "schemas/examples/verdict.v1.json"
SERVICES = {"memory": {"agent": "memory", "request": "observation.v1", "reply": "remembered.v1"}}
FLOW: dict[str, Any] = {
    "10-list": {
        "command": ["sh", "-c", 'seq 5 >"$2/list.txt"; mkdir "$2/more"; echo x >"$2/more/x.txt"', "list"],
        "reads": ["goal.md"],
        "writes": {"list.txt": "text", "more/*": "text"},
    },
    "20-sum": {
        "command": ["sh", "-c", 'wc -l <10-list/outbox/r1/list.txt >"$2/sum.txt"', "sum"],
        "reads": ["10-list/list.txt"],
        "writes": {"sum.txt": "text"},
    },
    "30-judge": {
        "command": ["sh", "-c", f'cp {VERDICT} "$2/verdict.json"', "judge"],
        "reads": ["20-sum/sum.txt"],
        "writes": {"verdict.json": "verdict.v1"},
    },
}


def make(runs: Path, flow: dict[str, Any] | None = None, name: str = "small") -> Path:
    """A new run in `runs`, with the config folder runs/../config; returns the run's folder."""
    flow = flow or FLOW
    config = runs.parent / "config"
    config.mkdir(exist_ok=True)
    (config / "swarm.yaml").write_text(yaml.safe_dump({"flow": flow, "services": SERVICES}))
    run = create_run(runs / name, GOAL, 1, flow, SERVICES, "1")
    run.advance()
    run.close()
    return run.folder


def step(script: str, **more: Any) -> dict[str, Any]:
    """A flow of one step that runs a script and may write x.txt."""
    return {
        "10-one": {"command": ["sh", "-c", script, "one"], "reads": ["goal.md"], "writes": {"x.txt": "text"}, **more}
    }


def agent(folder: Path, name: str, *arguments: str, config: Path | None = None) -> list[str]:
    """The command line of an agent that serves one mailbox of a small run."""
    settings = config or folder.parent.parent / "config"
    argv = [sys.executable, "-m", "agents._command", str(folder), "--step", name, "--config", str(settings)]
    return [*argv, *(arguments or ("--once",))]


def work(folder: Path, *steps: str, config: Path | None = None) -> None:
    """Do one request of each step; raises CalledProcessError when one fails."""
    for name in steps or FLOW:
        subprocess.run(agent(folder, name, config=config), cwd=ROOT, check=True, capture_output=True, timeout=180)


def command(
    name: str, *arguments: object, given: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run bin/NAME to its end."""
    argv = [sys.executable, str(ROOT / "bin" / name), *map(str, arguments)]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(argv, input=given, env=env, cwd=cwd, capture_output=True, text=True, timeout=120)


def status(folder: Path) -> dict[str, Any]:
    return dict(json.loads(command("status", folder, "--json").stdout))


def replies(folder: Path) -> dict[str, bytes]:
    """Every artifact of every reply of a step; not reply.json, which tells how long it took."""
    found = sorted(path for path in folder.glob("[0-9]*/outbox/**/*") if path.is_file() and path.name != "reply.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below a folder: its mode and its bytes."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }
