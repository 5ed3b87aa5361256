"""A run of the shipped flow whose steps ask scripted models: earlier replies are made by hand, one step is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from agents import _config
from agents._run import create_run
from bus import files
from bus.run import Run
from tests.asking import Asking
from tests.processes import PATIENCE_S, ROOT, environment


class Stepping(Asking):
    """Like Asking, with the shipped flow and services, a goal of one's own, and sources in the test's folder."""

    def __init__(self, folder: Path, goal: str, models: dict[str, Any], *roles: str, **budget: Any) -> None:
        self.config, self.runs = folder / "config", folder / "runs"
        self.config.mkdir(parents=True, exist_ok=True)
        infra = {"models": models, "budget": {"usd": 0, **budget}, "allowed_paths": [str(folder)]}
        swarm = yaml.safe_load((ROOT / "config" / "swarm.yaml").read_text())
        swarm["roles"] = {role: {"prefer": next(iter(models)), "max_tokens": 4096} for role in roles}
        (self.config / "infra.yaml").write_text(yaml.safe_dump(infra))
        (self.config / "swarm.yaml").write_text(yaml.safe_dump(swarm))
        config = _config.load(self.config)
        create_run(self.runs / "small", goal, 1, config.flow, config.services, "1").close()
        self.folder = self.runs / "small"
        self.llm = self.folder / "llm"

    def allow(self, step: str, servers: dict[str, Any]) -> None:
        """Let a step use all tools of these MCP servers."""
        for name, change in (("infra", {"mcp": servers}), ("swarm", {})):
            document = yaml.safe_load((self.config / f"{name}.yaml").read_text()) | change
            if name == "swarm":
                document["flow"][step]["tools"] = list(servers)
            (self.config / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def reply(self, step: str, artifacts: dict[str, Any], round: int = 1) -> None:
        """Answer a step's request as its agent would: lists as rows, texts as they are."""
        mailbox, id = Run(self.folder).mailbox(step), f"r{round}"
        mailbox.put(id, {"schema": "request.v1", "id": id, "step": step, "round": round})
        (claim,) = mailbox.claims()
        claim.begin()
        for name, value in artifacts.items():
            path = claim.folder / "out" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = value if isinstance(value, list) else [value]
            path.write_bytes(value.encode() if isinstance(value, str) else b"".join(map(files.canonical, rows)))
        claim.commit_folder({"read": {}, "seconds": 1.0, "cpu_s": 1.0, "usd": 0.0, "gpu_s": 0.0})

    def step(self, agent: str) -> subprocess.CompletedProcess[str]:
        """Run a step's agent once; it must succeed."""
        argv = [sys.executable, "-m", f"agents.{agent}", str(self.folder), "--once", "--config", str(self.config)]
        ended = subprocess.run(
            argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=4 * PATIENCE_S
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def out(self, step: str, name: str, round: int = 1) -> Any:
        """An artifact of a step: a document, rows or text, by its name."""
        text = (self.folder / step / "outbox" / f"r{round}" / name).read_text("utf-8")
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text) if name.endswith(".json") else text
