"""A goal, a config and a scripted server for quotes: the steps up to filter, with all three roles asked and paid."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from agents import _config
from agents.models.ledger import NAME, Tally
from tests.asking import SERVICES, profile
from tests.distilling import MINIMUM, SCALE
from tests.processes import ROOT, environment

GOAL = """---
name: quoted
sources: [pydoc:subprocess, pydoc:threading, pydoc:logging, pydoc:shutil, catalogue:errno, catalogue:signal]
examples: {examples}
seed: {seed}
---
## Topics
- **Processes**: subprocess, Popen, run, pipes, return codes
- **Threads**: threading, Lock, Event, Thread
- **Files and logs**: logging, handlers, `shutil`, copying files
- **System errors**: errno names and signals
"""
STEPS = ("00-orient", "10-research", "20-collect", "30-generate", "40-filter", "80-improve")
PRICE = {"input": 1.0, "output": 4.0}
RULES = [  # of a server whose answers differ in length by chance; each is for one kind of question
    {"when": {"words": "error scenarios about"}, "call": "scenarios"},
    {"when": {"words": "rubric"}, "call": "json for schema"},
    {"when": {"words": "by its slug"}, "call": "json for schema"},
    {"when": {"words": "must_know"}, "call": "json for schema"},
]
DEFAULT = {"call": "qa pairs"}
ROLES = {"researcher": 4096, "teacher": 4096, "judge": 500}


class Quoting:
    """folder/goal.md and folder/config; runs are made in folder/runs."""

    def __init__(self, folder: Path, url: str | None, examples: int = 700, seed: int = 3, roles: Any = ROLES,
                 price: Any = PRICE, **budget: Any) -> None:  # fmt: skip
        self.folder, self.config, self.goal = folder, folder / "config", folder / "goal.md"
        self.run = folder / "runs" / "quoted"
        self.config.mkdir(parents=True)
        self.goal.write_text(GOAL.format(examples=examples, seed=seed))
        flow = {name: dict(_config.load().flow[name]) for name in STEPS}
        flow["80-improve"]["reads"] = ["40-filter/dataset.json"]
        flow["30-generate"]["settings"], flow["40-filter"]["settings"] = {"scale": SCALE}, {"minimum": MINIMUM}
        models = {"one": profile(url, price=price)}
        chosen = {name: {"prefer": "one", "max_tokens": most} for name, most in ROLES.items() if name in roles}
        self.write("infra", {"models": models, "budget": {"usd": 50, **budget}})
        self.write("swarm", {"flow": flow, "services": SERVICES, "roles": chosen})

    def write(self, name: str, document: dict[str, Any]) -> None:
        (self.config / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def quote(self, *more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(ROOT / "bin/quote"), str(self.goal), "--config", str(self.config)]
        argv += ["--runs", str(self.run.parent), *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=240)

    def told(self, *more: str) -> dict[str, Any]:
        """The quote's document; the command must succeed."""
        ended = self.quote("--json", *more)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return dict(json.loads(ended.stdout))

    def pipeline(self, runs: Path | None = None) -> None:
        """bin/pipeline to the end of `filter`; the step after it, for the flow's sake, has not what it reads."""
        argv = [sys.executable, str(ROOT / "bin/pipeline"), str(self.goal), "--config", str(self.config)]
        runs = runs or self.run.parent
        argv += ["--runs", str(runs)]
        ended = subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=480)
        assert (runs / "quoted/40-filter/outbox/r1/reply.json").exists(), ended.stdout + ended.stderr

    def spent(self) -> float:
        return Tally(self.run / "llm" / NAME).look().usd
