"""A small run with an llm mailbox, a config that asks scripted servers, and the agent that serves it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agents import _config
from agents._ask import Asker, Question, Unanswered
from agents._run import create_run
from bus.run import Run
from tests import small
from tests.processes import PATIENCE_S, ROOT, environment

SERVICES = {"llm": {"agent": "llm", "request": "call.v1", "reply": "called.v1", "tries": 2}}
FREE = {"input": 0, "output": 0}


def profile(url: str | None, **more: Any) -> dict[str, Any]:
    """One entry of `models:`; free of charge, unless `price` says otherwise."""
    return {"endpoint": url, "model": "scripted", "price": FREE, "timeout_s": 5, **more}


class Asking:
    """A run in folder/runs, its config in folder/config."""

    def __init__(
        self, folder: Path, models: dict[str, Any], roles: dict[str, Any] | None = None, **budget: Any
    ) -> None:
        self.config, self.runs = folder / "config", folder / "runs"
        self.config.mkdir(parents=True, exist_ok=True)
        infra = {"models": models, "budget": {"usd": 0, **budget}}
        roles = roles or {"teacher": {"prefer": next(iter(models)), "fallback": list(models)[1:], "max_tokens": 100}}
        swarm = {"flow": small.FLOW, "services": SERVICES, "roles": roles}
        (self.config / "infra.yaml").write_text(yaml.safe_dump(infra))
        (self.config / "swarm.yaml").write_text(yaml.safe_dump(swarm))
        if not (self.runs / "small").exists():
            create_run(self.runs / "small", small.GOAL, 1, small.FLOW, SERVICES, "1").close()
        self.folder = self.runs / "small"
        self.llm = self.folder / "llm"

    def asker(self, step: str = "10-list") -> Asker:
        return Asker(Run(self.folder), _config.load(self.config), step, print)

    def ask(self, text: str, role: str = "teacher", **more: Any) -> dict[str, Any] | Unanswered:
        return self.asker().one(role, question(text, **more))

    def argv(self, *more: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "agents.llm",
            str(self.folder),
            "--config",
            str(self.config),
            *(more or ["--watch"]),
        ]

    @contextlib.contextmanager
    def agent(self, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """The llm agent, until the end of the block."""
        child = subprocess.Popen(self.argv(), cwd=ROOT, env=environment(**env), stdin=subprocess.DEVNULL)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(PATIENCE_S)

    def ledger(self) -> list[dict[str, Any]]:
        path = self.llm / "ledger.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def question(text: str, **more: Any) -> Question:
    return Question([{"role": "user", "content": text}], **more)
