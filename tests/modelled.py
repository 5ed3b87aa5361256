"""The tiny pipeline with a scripted researcher, teacher and judge: its config, its server's script, what it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests import tiny
from tests.asking import profile

ANSWERS: dict[
    str, Any
] = {  # by the question's own chance: the same question is answered the same, whenever it is asked
    "default": {"call": "qa pairs", "latency_s": [0.0, 0.05]},
    "rules": [
        {"when": {"words": "rubric"}, "call": "json for schema"},
        {"when": {"words": "error scenarios about"}, "call": "scenarios"},
        {"when": {"words": '<answer id="first">'}, "call": "fair judge"},
    ],
}
BURSTS = {"every_s": 8, "for_s": 1}  # of 429 to all
TROUBLE = [  # what a first or second asking meets, by the question's own chance
    {"when": {"try": 1, "share": 0.005}, "status": 429, "retry_after": 0},
    {"when": {"try": [1, 2], "share": 0.05}, "status": 500},
    {"when": {"try": 1, "share": 0.03}, "wire": "hang up"},
    {"when": {"try": 1, "share": 0.03}, "wire": "cut"},
]
CONCURRENCY = 16
PRICE = {"input": 0.1, "output": 0.4}
ROLES = {
    "researcher": {"prefer": "one", "max_tokens": 2000, "temperature": 0.3},
    "teacher": {"prefer": "one", "max_tokens": 2000},
    "judge": {"prefer": "two", "max_tokens": 500, "temperature": 0},
}
COPY = ["sh", "-c", f'cp "{tiny.ROOT}/schemas/examples/next.v1.json" "$2/next.json"', "sh"]  # for a flow that is cut
MADE = ("10-research", "20-collect", "30-generate", "40-filter")  # of the answers alone
TIMES = "retrieved.json"


def troubled(latency_s: list[float]) -> dict[str, Any]:
    """ANSWERS of a server that is slow, refuses, fails and hangs up."""
    return {
        "default": {**ANSWERS["default"], "latency_s": latency_s},
        "rules": [*TROUBLE, *ANSWERS["rules"]],
        "bursts": BURSTS,
    }


def write_config(folder: Path, url: str | None, until: str = "80-improve", usd: float = 1.0, **roles: str) -> Path:
    """The tiny config up to a step, with two profiles at one server (None: a machine that knows of no model).

    `roles` names other profiles for some roles.
    """
    config = folder / "config" if (folder / "config").exists() else tiny.write_config(folder)
    swarm = yaml.safe_load((config / "swarm.yaml").read_text())
    if until < (last := "80-improve"):
        swarm["flow"] = {step: entry for step, entry in swarm["flow"].items() if step <= until}
        plain = next(name for name in swarm["flow"][until]["writes"] if "*" not in name)
        swarm["flow"][last] = {"command": COPY, "reads": [f"{until}/{plain}"], "writes": {"next.json": "next.v1"}}
    swarm["roles"] = {role: {**entry, "prefer": roles.get(role, entry["prefer"])} for role, entry in ROLES.items()}
    (config / "swarm.yaml").write_text(yaml.safe_dump(swarm))
    models = {name: profile(url, model=name, price=PRICE, concurrency=CONCURRENCY) for name in ("one", "two")}
    (config / "infra.yaml").write_text(yaml.safe_dump({"models": models, "budget": {"usd": usd}}))
    return config


def made(run: Path) -> dict[str, bytes]:
    """{step/artifact: its bytes} of the deterministic steps, but for the file that tells times."""
    found = {step: tiny.artifacts(run, step) for step in MADE if (run / step / "outbox" / "r1").exists()}
    return {f"{step}/{name}": data for step, own in found.items() for name, data in own.items() if name != TIMES}


def replies(run: Path) -> dict[str, dict[str, Any]]:
    """{call: its reply} of a run."""
    return {path.stem: json.loads(path.read_bytes()) for path in (run / "llm" / "outbox").glob("[!.]*.json")}
