"""The tools of all steps are looked at when a run starts: a mistake is told before anything is paid, or even made."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents._codes import USAGE
from agents._run import create_run
from bus.run import Run
from tests import small
from tests.processes import ROOT

HOSTILE = [sys.executable, str(ROOT / "tests" / "hostile_server.py")]
STEP = {"agent": "improve", "reads": ["goal.md"], "writes": {}}
FLOW = {"10-list": small.FLOW["10-list"], "20-look": STEP}


def configured(folder: Path, *tools: str, command: list[str] = HOSTILE, **server: Any) -> Path:
    """A config of two steps, the second of which may use these tools of one server."""
    flow = {**FLOW, "20-look": {**STEP, "tools": list(tools)}}
    config = folder / "config"
    config.mkdir(exist_ok=True)
    infra = {"mcp": {"bad": {"command": command, **server}}}
    (config / "infra.yaml").write_text(yaml.safe_dump(infra))
    (config / "swarm.yaml").write_text(yaml.safe_dump({"flow": flow, "services": small.SERVICES}))
    return config


def made(folder: Path, flow: dict[str, Any] = FLOW) -> Path:
    create_run(folder / "runs/small", small.GOAL, 1, flow, small.SERVICES, "1").close()
    return folder / "runs/small"


def started(folder: Path, config: Path, name: str = "pipeline") -> tuple[int, str]:
    """bin/pipeline on a goal, or bin/supervise on its run: (exit code, what it said on stderr)."""
    goal = folder / "goal.md"
    goal.write_text(small.GOAL.replace("name: gpu-ops", "name: small"))
    words = [goal, "--runs", folder / "runs"] if name == "pipeline" else [folder / "runs" / "small"]
    ended = small.command(name, *words, "--config", config)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("tools", "server", "told"),
    [
        (
            ["bad.ecko"],
            {},
            "tools: bad.ecko: the server bad has no tool 'ecko'; did you mean echo? (allowed to 20-look)",
        ),
        (["bad"], {"command": [*HOSTILE, "gone"]}, "mcp: bad: ended with exit 1; it said: hostile: I will not"),
        (["bad.echo"], {"writes": ["ekko"]}, "writes: the server has no tool 'ekko'; did you mean echo?"),
        (["bad"], {"command": [*HOSTILE, "honest"], "writes": False}, "its server says that it writes"),
    ],
)
def test_a_tool_that_a_later_step_cannot_have_is_told_at_the_start(
    tmp_path: Path, tools: list[str], server: dict[str, Any], told: str
) -> None:
    config = configured(tmp_path, *tools, **server)
    code, said = started(tmp_path, config)
    assert code == USAGE and told in said and f"{config}/infra.yaml" in said and len(said.splitlines()) == 1, said
    assert not (tmp_path / "runs").exists()
    run = made(tmp_path)
    code, said = started(tmp_path, config, "supervise")
    assert code == USAGE and told in said
    assert not (run / "10-list/outbox/r1").exists(), "not even the first step has begun"


def test_a_step_that_is_done_needs_its_tools_no_more(tmp_path: Path) -> None:
    config, run = configured(tmp_path, "bad.ecko"), made(tmp_path)
    for step in FLOW:
        opened = Run(run)
        opened.advance()
        (claim,) = opened.mailbox(step).claims()
        claim.begin()
        claim.commit_folder({"read": {}, "seconds": 1.0, "cpu_s": 1.0, "usd": 0.0, "gpu_s": 0.0})
    assert started(tmp_path, config, "supervise") == (0, "")


def test_what_a_moved_run_hands_to_a_tool_that_writes_is_refused_at_the_start_too(tmp_path: Path) -> None:
    """This machine's own flow is clean; the run's was made on another."""
    config = configured(tmp_path, "bad")
    run = made(tmp_path, {**FLOW, "20-look": {**STEP, "reads": ["10-list/list.txt"]}})
    code, said = started(tmp_path, config, "supervise")
    assert code == USAGE and "small: run.json: flow: 20-look: tools: bad can write outside" in said
    assert "reads 10-list/list.txt" in said and not (run / "10-list/outbox/r1").exists()
