"""A run whose research and collect are answered by hand, with a teacher (and a judge) behind a scripted server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agents import _config
from agents._run import create_run
from bus import files
from tests.asking import SERVICES, profile
from tests.processes import PATIENCE_S, ROOT, environment
from tests.test_generate import TOPICS

GOAL = """---
name: distilled
sources: [pydoc:errno]
examples: {examples}
---
## Topics
- **Files**: file, path
"""
SCALE = {"families": 200, "fewest": 150, "of_a_kind": 10}
MINIMUM = {"taught": 10, "unseen": 5, "general": 20}
FAIR = [{"when": {"words": "rubric"}, "call": "json for schema"}]  # scores from 1 to 5, by the question's own chance


class Distilling:
    """A run in folder/runs/distilled that serves generate and filter, its config in folder/config."""

    def __init__(self, folder: Path, collected: Any, url: str | None, examples: int = 700, judge: bool = False,
                 **budget: Any) -> None:  # fmt: skip
        self.config, self.folder = folder / "config", folder / "runs" / "distilled"
        self.config.mkdir(parents=True)
        steps = ("10-research", "20-collect", "30-generate", "40-filter", "80-improve")
        flow = {name: dict(_config.load().flow[name]) for name in steps}
        flow["10-research"]["reads"] = flow["20-collect"]["reads"] = ["goal.md"]
        flow["80-improve"]["reads"] = ["40-filter/dataset.json"]
        flow["30-generate"]["settings"], flow["40-filter"]["settings"] = {"scale": SCALE}, {"minimum": MINIMUM}
        price = budget.pop("price", {"input": 0, "output": 0})
        infra = {"models": {"one": profile(url, price=price)}, "budget": {"usd": 0, **budget}}
        roles = {"teacher": {"prefer": "one", "max_tokens": 2000}}
        roles |= {"judge": {"prefer": "one", "max_tokens": 500, "temperature": 0}} if judge else {}
        (self.config / "infra.yaml").write_text(yaml.safe_dump(infra))
        (self.config / "swarm.yaml").write_text(yaml.safe_dump({"flow": flow, "services": SERVICES, "roles": roles}))
        self.run = create_run(self.folder, GOAL.format(examples=examples), 3, flow, SERVICES, "1")
        self.collect(collected)

    def collect(self, collected: Any) -> None:
        """Answer research and collect of the next round."""
        rows, texts = collected
        topics = {"schema": "topics.v1", "goal": "x", "topics": [t | {"why": "x"} for t in TOPICS], "unmapped": []}
        written = {f"sources/{name}.md": text.encode() for name, text in texts.items()}
        written["sources.jsonl"] = b"".join(map(files.canonical, rows))
        written["retrieved.json"] = files.canonical({"schema": "retrieved.v1", "sources": []})
        self.answer("10-research", {"topics.json": files.canonical(topics), "report.md": b""})
        self.answer("20-collect", written)

    def answer(self, step: str, artifacts: dict[str, bytes]) -> None:
        self.run.advance()
        claim = next(iter(self.run.mailbox(step).claims()))
        out = claim.begin() / "out"
        for name, data in artifacts.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(data)
        claim.commit_folder({"read": {}, "seconds": 0.0, "cpu_s": 0.0, "usd": 0.0, "gpu_s": 0.0})

    def argv(self, agent: str, *more: str) -> list[str]:
        return [sys.executable, "-m", f"agents.{agent}", str(self.folder), "--config", str(self.config), *more]

    def start(self, agent: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(self.argv(agent, "--once"), cwd=ROOT, env=environment(), **pipes)

    def do(self, agent: str) -> str:
        """Do one request of a step in a process of its own; returns what it said; fails if it failed."""
        child = self.start(agent)
        said, _ = child.communicate(timeout=4 * PATIENCE_S)
        assert child.returncode == 0, said
        return said

    @contextlib.contextmanager
    def models(self) -> Iterator[None]:
        """The llm agent, until the end of the block."""
        child = subprocess.Popen(self.argv("llm", "--watch"), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(PATIENCE_S)

    def out(self, step: str, round: int = 1) -> Path:
        return self.folder / step / "outbox" / f"r{round}"

    def examples(self, round: int = 1) -> list[dict[str, Any]]:
        found = sorted((self.out("30-generate", round) / "examples").glob("*.jsonl"))
        return [json.loads(line) for path in found for line in path.read_bytes().splitlines()]

    def rows(self, name: str, round: int = 1) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out("40-filter", round) / name).read_bytes().splitlines()]

    def bytes_of(self, step: str, round: int = 1) -> dict[str, str]:
        """{artifact: its sha256} of a reply, without reply.json, which tells how long it took."""
        folder = self.out(step, round)
        found = (path for path in folder.rglob("*") if path.is_file() and path.name != "reply.json")
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
