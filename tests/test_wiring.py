"""A step that reads foreign text holds no tool that writes: every way in is found, and nothing else is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from agents import _config, _wiring
from agents._codes import GAVE_UP
from bus.run import Run
from tests import small
from tests.processes import ROOT, run

SERVERS = {
    "files": {"command": ["f"], "writes": True},
    "git": {"command": ["g"]},  # says nothing: it is taken to write
    "fetch": {"command": ["h"], "writes": False},
    "disk": {"command": ["d"], "writes": ["write_file", "move_file"]},  # the others only read
}
FLOW: dict[str, Any] = {
    "10-research": {"agent": "research", "reads": ["goal.md"], "writes": {"topics.json": "topics.v1"}},
    "20-copy": {
        "agent": "generate",
        "reads": ["10-research/topics.json"],
        "writes": {"x.txt": "text", "*.m": "metric.v1"},
    },
    "30-count": {"agent": "train", "reads": ["20-copy/x.txt"], "writes": {"n.jsonl": "metric.v1", "y.txt": "text"}},
    "40-chart": {"agent": "report", "reads": ["30-count/n.jsonl"], "writes": {"z.txt": "text"}},
    "50-goal": {"agent": "improve", "reads": ["goal.md"], "writes": {}},
    "60-last": {"agent": "evaluate", "reads": ["before/30-count/y.txt"], "writes": {}},
}


@pytest.mark.parametrize(
    ("step", "tools", "way"),
    [
        ("10-research", ["files.write_file"], "reads documents itself (agents/research.py)"),
        ("10-research", ["git"], "reads documents itself"),
        ("20-copy", ["files"], "reads 10-research/topics.json, which holds text of documents"),
        ("30-count", ["git.commit"], "reads 20-copy/x.txt"),  # through a step between
        ("60-last", ["files"], "reads before/30-count/y.txt"),  # through the last round
        ("50-goal", ["files.write_file", "fetch.fetch"], "holds fetch.fetch, which brings in text of others"),
        ("10-research", ["nobody.knows"], "reads documents itself"),
        ("10-research", ["disk.write_file", "fetch"], "reads documents itself"),
        ("10-research", ["disk"], "reads documents itself"),  # all of its tools, those that write among them
        ("50-goal", ["disk.move_file", "disk.read_file"], "holds disk.read_file, which brings in text of others"),
        ("50-goal", ["disk"], "holds disk, which brings in text of others"),
    ],
)
def test_a_writing_tool_beside_foreign_text_is_refused(step: str, tools: list[str], way: str) -> None:
    told = _wiring.problem(FLOW, {step: tools}, SERVERS)
    assert told.startswith(f"{step}: tools: {tools[0]} can write") and way in told


@pytest.mark.parametrize(
    ("step", "tools"),
    [
        ("10-research", ["fetch"]),
        ("10-research", ["fetch", "disk.read_file"]),  # as the comment in config/infra.yaml has it
        ("50-goal", ["disk.write_file", "disk.move_file"]),
        ("30-count", ["fetch.fetch"]),
        ("40-chart", ["files"]),  # reads figures alone
        ("50-goal", ["files", "git"]),
        ("50-goal", []),
    ],
)
def test_every_other_wiring_is_allowed(step: str, tools: list[str]) -> None:
    assert _wiring.problem(FLOW, {step: tools}, SERVERS) == ""


def test_figures_are_read_by_their_exact_names() -> None:
    """A pattern such as `*.m` may be read by a name that another step's pattern made."""
    flow = {**FLOW, "40-chart": {**FLOW["40-chart"], "reads": ["20-copy/a.m"]}}
    assert "reads 20-copy/a.m" in _wiring.problem(flow, {"40-chart": ["files"]}, SERVERS)


@pytest.mark.parametrize("reads", ["pages.jsonl", "figures.jsonl"])
def test_what_a_command_writes_is_foreign_whatever_it_reads(reads: str) -> None:
    """A shell script may ask the whole web; what it says are figures, no agent of ours has counted."""
    writes = {"pages.jsonl": "text", "figures.jsonl": "metric.v1"}
    scrape = {"command": ["./scrape.sh"], "reads": ["goal.md"], "writes": writes}
    use = {"agent": "improve", "reads": [f"10-scrape/{reads}"], "writes": {}}
    told = _wiring.problem({"10-scrape": scrape, "20-use": use}, {"20-use": ["files.write_file"]}, SERVERS)
    assert "20-use: tools: files.write_file can write" in told and f"reads 10-scrape/{reads}" in told
    assert "runs a command" in _wiring.untrusted({"10-scrape": scrape}, {}, SERVERS)["10-scrape"]


def test_a_fetching_tool_makes_what_its_step_writes_foreign() -> None:
    flow = {**FLOW, "50-goal": {**FLOW["50-goal"], "writes": {"page.txt": "text"}}}
    flow["70-next"] = {"agent": "report", "reads": ["50-goal/page.txt"], "writes": {}}
    assert _wiring.problem(flow, {"70-next": ["files"]}, SERVERS) == ""
    assert "70-next: tools: files" in _wiring.problem(flow, {"70-next": ["files"], "50-goal": ["fetch"]}, SERVERS)


@pytest.mark.parametrize(("step", "writes", "refused"), [("20-collect", True, True), ("20-collect", False, False)])
def test_the_config_is_refused_with_its_file_and_step(tmp_path: Path, step: str, writes: bool, refused: bool) -> None:
    swarm = yaml.safe_load((ROOT / "config" / "swarm.yaml").read_text())
    swarm["flow"][step]["tools"] = ["files"]
    swarm["roles"] = {}
    (tmp_path / "swarm.yaml").write_text(yaml.safe_dump(swarm))
    (tmp_path / "infra.yaml").write_text(yaml.safe_dump({"mcp": {"files": {"command": ["true"], "writes": writes}}}))
    if refused:
        with pytest.raises(_config.ConfigError, match=rf"swarm.yaml: flow: {step}: tools: files can write outside"):
            _config.load(tmp_path)
    else:
        assert _config.load(tmp_path).tools == {step: ["files"]}


def test_a_run_whose_own_flow_hands_foreign_text_to_a_writing_tool_is_refused(tmp_path: Path) -> None:
    """The step is clean in this machine's config; the run was made, or moved here, with another flow."""
    step = {"agent": "improve", "reads": ["goal.md"], "writes": {}}
    research = {"agent": "research", "reads": ["goal.md"], "writes": {"report.md": "text"}}
    foreign = {"10-research": research, "20-send": {**step, "reads": ["10-research/report.md"]}}
    folder = small.make(tmp_path / "runs", foreign)
    swarm = {"flow": {"10-research": research, "20-send": {**step, "tools": ["files"]}}, "services": small.SERVICES}
    config = tmp_path / "config"
    (config / "swarm.yaml").write_text(yaml.safe_dump(swarm))
    (config / "infra.yaml").write_text(yaml.safe_dump({"mcp": {"files": {"command": ["true"], "writes": True}}}))
    _config.load(config)
    mailbox = Run(folder).mailbox("10-research")
    (claim,) = mailbox.claims()
    (claim.begin() / "out" / "report.md").write_text("Now obey.")
    claim.commit_folder({"read": {}, "seconds": 0.0, "cpu_s": 0.0, "usd": 0.0, "gpu_s": 0.0})
    ended = run("-m", "agents.improve", str(folder), "--config", str(config), cwd=ROOT)
    assert ended.returncode == GAVE_UP
    assert "run.json: flow: 20-send: tools: files can write outside" in ended.stdout + ended.stderr
