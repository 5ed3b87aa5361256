"""The main job, whole: real steps, real training at small scale, killed, stopped, moved and repeated."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests import tiny

DETERMINISTIC = ("10-research", "30-generate", "40-filter")
VICTIMS = ("--step 20-collect", "--step 40-filter", "bin/supervise", "train.py", "bin/guard", "--step 50-train")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small goal, run to its end undisturbed."""
    folder = tmp_path_factory.mktemp("reference")
    ended = tiny.run(tiny.write_goal(folder), folder / "runs", tiny.write_config(folder))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def check(run: Path) -> None:
    tiny.command_of("check", run)


def test_a_goal_becomes_a_measured_specialist(reference: Path) -> None:
    run = reference / "runs" / "tiny"
    check(run)
    verdict = json.loads((run / "60-evaluate/outbox/r1/verdict.json").read_text())
    assert set(verdict["slices"]) >= {"taught", "unseen", "general"}
    rows = (run / "50-train/outbox/r1/metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["loss"] < json.loads(rows[0])["loss"]
    report = (run / "70-report/outbox/r1/report.md").read_text()
    assert verdict["slices"]["taught"]["verdict"] in report
    assert (reference / "runs" / "memory" / "memory.jsonl").stat().st_size > 0


def test_the_same_command_again_does_nothing(reference: Path) -> None:
    before = sorted(reference.rglob("reply.json"))
    stamps = [path.stat().st_mtime_ns for path in before]
    ended = tiny.run(reference / "tiny.md", reference / "runs", reference / "config")
    assert ended.returncode == 0 and "nothing to do" in ended.stdout
    assert [path.stat().st_mtime_ns for path in before] == stamps


def test_a_changed_goal_is_an_error_that_shows_the_difference(reference: Path, tmp_path: Path) -> None:
    changed = tmp_path / "tiny.md"
    changed.write_text((reference / "tiny.md").read_text().replace("seed: 11", "seed: 12"))
    ended = tiny.run(changed, reference / "runs", reference / "config")
    assert ended.returncode == 2
    assert "-seed: 11" in ended.stderr and "+seed: 12" in ended.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed: 11", "sead: 11", "seed"),
        ('"pydoc:signal"', '"pydoc:no_such_module"', "no_such_module"),
        ("name: {name}", "name: ../up", "name"),
        ('"pydoc:subprocess", "pydoc:signal", "pydoc:threading", "catalogue:errno"', '"pydoc:this"', "fact"),
    ],
)
def test_a_goal_that_cannot_run_leaves_nothing(tmp_path: Path, old: str, new: str, told: str) -> None:
    goal = tiny.write_goal(tmp_path, text=tiny.GOAL.replace(old, new))
    ended = tiny.run(goal, tmp_path / "runs", tiny.write_config(tmp_path))
    assert ended.returncode == 2, ended.stdout + ended.stderr
    line = ended.stderr.strip().splitlines()[-1]
    assert told in line and "Traceback" not in ended.stderr
    assert not [path for path in (tmp_path / "runs").glob("*") if path.name != "memory"]


def test_killed_again_and_again_it_ends_with_the_same_dataset(reference: Path, tmp_path: Path) -> None:
    goal, config, runs = tiny.write_goal(tmp_path), tiny.write_config(tmp_path), tmp_path / "runs"
    chance = random.Random(os.environ.get("MAILROOM_SEED", "1"))
    shell, left = tiny.start(goal, runs, config), list(VICTIMS)
    end = time.monotonic() + 240
    while left and time.monotonic() < end:
        time.sleep(chance.uniform(0.05, 0.3))
        if shell.poll() is not None:  # the guard died before its supervisor lived: the same command goes on
            shell = tiny.start(goal, runs, config)
        if (runs / "tiny" / "60-evaluate" / "outbox" / "r1").exists():
            break
        for what in list(left):
            if what == "train.py" and not list(runs.glob("tiny/50-train/work/r1/kept/checkpoints/*")):
                continue
            if tiny.kill(runs / "tiny", what):
                left.remove(what)
                break
    shell.communicate(timeout=240)
    ended = tiny.run(goal, runs, config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "train.py" not in left, "the trainer was never killed"
    check(runs / "tiny")
    for step in DETERMINISTIC:
        assert tiny.artifacts(runs / "tiny", step) == tiny.artifacts(reference / "runs" / "tiny", step), step
    assert not list(tiny.processes(runs / "tiny"))


def test_it_is_moved_while_it_works_and_ctrl_c_stops_it_and_a_lost_terminal_does_not(
    reference: Path, tmp_path: Path
) -> None:
    goal, config, runs = tiny.write_goal(tmp_path), tiny.write_config(tmp_path), tmp_path / "runs"
    shell = tiny.start(goal, runs, config)
    tiny.wait_for(runs / "tiny" / "10-research" / "outbox" / "r1")
    os.killpg(shell.pid, signal.SIGHUP)  # the terminal is gone
    shell.communicate(timeout=30)
    tiny.wait_for(runs / "tiny" / "30-generate" / "outbox" / "r1")
    moved = tmp_path / "elsewhere" / "tiny"
    tiny.command_of("pack", runs / "tiny", "--live", "--out", tmp_path / "tiny.tar.gz")
    tiny.command_of("unpack", tmp_path / "tiny.tar.gz", "--runs", moved.parent)
    tiny.wait_for(runs / "tiny" / "40-filter" / "outbox" / "r1")
    shell = tiny.start(goal, runs, config)  # attaches
    assert shell.stdout and "going on" in shell.stdout.readline()
    tiny.wait_for(runs / "tiny" / "50-train" / "work" / "r1" / "kept")
    time.sleep(1.0)
    os.killpg(shell.pid, signal.SIGINT)
    printed, _ = shell.communicate(timeout=60)
    assert shell.returncode == 130 and "stopped" in printed, printed
    assert not list(tiny.processes(runs / "tiny"))
    ended = tiny.run(moved / "goal.md", moved.parent, config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    check(moved)
    for step in DETERMINISTIC:
        assert tiny.artifacts(moved, step) == tiny.artifacts(reference / "runs" / "tiny", step), step


def test_a_budget_that_is_gone_stops_the_run_in_one_line(tmp_path: Path) -> None:
    goal = tiny.write_goal(tmp_path, text=tiny.GOAL.replace("seed: 11", "budget: {{wall_hours: 0.0005}}\nseed: 11"))
    ended = tiny.run(goal, tmp_path / "runs", tiny.write_config(tmp_path))
    assert ended.returncode == 100 and "wall_hours" in ended.stderr.splitlines()[-1], ended.stderr
    assert not list(tiny.processes(tmp_path / "runs" / "tiny"))


def test_a_second_round_trains_on_the_union_and_keeps_the_exam(reference: Path) -> None:
    ended = tiny.run(reference / "tiny.md", reference / "runs", reference / "config", "--rounds", "2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = reference / "runs" / "tiny"
    check(run)
    first, second = (run / "40-filter" / "outbox" / round for round in ("r1", "r2"))
    assert (first / "exam.jsonl").read_bytes() == (second / "exam.jsonl").read_bytes()
    rows = [set((folder / "train.jsonl").read_text().splitlines()) for folder in (first, second)]
    assert rows[0] < rows[1]
    bases = [json.loads((run / "50-train/outbox" / one / "training.json").read_text())["base"] for one in ("r1", "r2")]
    assert bases[0]["sha256"] == bases[1]["sha256"]
    recalled = json.loads((run / "00-orient/outbox/r2/recalled.json").read_text())["observations"]
    assert any(one["run"] == "tiny" and one["round"] == 1 for one in recalled)
