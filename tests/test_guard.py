"""Who watches the supervisor: bin/guard, on supervisors that hang, die and end; and one supervisor a run."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import small
from tests.processes import ROOT, environment, eventually, start
from tests.test_agent import in_a_small_tmpfs

BEGIN = """
import json, sys, time
from pathlib import Path
home = Path(sys.argv[1])
starts = len(list(home.glob("start-*"))) + 1
(home / f"start-{starts}").touch()
def beat(state):
    (home / "heartbeat.json").write_text(json.dumps({"state": state, "beat": time.monotonic()}))
"""


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """bin/guard as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "bin"))
    loader = importlib.machinery.SourceFileLoader("guard_of_bin", str(ROOT / "bin/guard"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def watched(guard: Any, home: Path, code: str) -> tuple[int, int]:
    """(exit code, starts) of a guard over a supervisor that runs some code."""
    ended = guard.Guard([sys.executable, "-c", BEGIN + code, str(home)], home).run()
    return ended, len(list(home.glob("start-*")))


def test_a_supervisor_that_stops_beating_is_replaced(
    guard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SILENT_S", 1.0)
    code, starts = watched(guard, tmp_path, "beat('working')\nif starts == 1: time.sleep(600)")
    assert code == 0 and starts > 1


def test_a_supervisor_that_ends_its_agents_is_not_taken_for_hung(
    guard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SILENT_S", 2.0)
    assert watched(guard, tmp_path, "beat('stopped'); time.sleep(3)") == (0, 1)


def test_a_supervisor_that_dies_is_replaced_unless_the_end_was_asked_for(guard: Any, tmp_path: Path) -> None:
    assert watched(guard, tmp_path, "sys.exit(1 if starts == 1 else 100)") == (100, 2)
    code, starts = watched(guard, tmp_path, "(home / 'STOP').touch(); sys.exit(1)")
    assert (code, starts) == (1, 3)


def test_one_supervisor_a_run_and_stop_is_removed_once_obeyed(tmp_path: Path) -> None:
    run = small.make(tmp_path / "runs")
    (run / "HOLD").touch()
    home, argv = run / "supervisor", ["bin/supervise", str(run), "--config", str(tmp_path / "config")]
    first = start(*argv, cwd=ROOT)
    eventually((home / "heartbeat.json").exists, "the first supervisor beats")
    second = small.command("supervise", run)
    assert second.returncode == 75 and "another supervisor has this run" in second.stderr
    (home / "STOP").touch()
    said, _ = first.communicate(timeout=60)
    assert (first.returncode, said) == (0, "small: stopped: asked to stop\n")
    assert not (home / "STOP").exists()


def test_a_stop_that_comes_while_the_supervisor_starts_is_obeyed(tmp_path: Path) -> None:
    run = small.make(tmp_path / "runs")
    (run / "supervisor/STOP").touch()
    ended = small.command("supervise", run, "--config", tmp_path / "config")
    assert (ended.returncode, ended.stdout) == (0, "small: stopped: asked to stop\n")


def test_a_config_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    run = small.make(tmp_path / "runs")
    (tmp_path / "config/swarm.yaml").write_text("flow: []\nservices: {memory: {}}\n")
    ended = small.command("supervise", run, "--config", tmp_path / "config")
    assert ended.returncode == 2 and "agent: None is not the name" in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_supervisor_outlives_a_full_disk(tmp_path: Path) -> None:
    """The step's script fills the disk, beats go on meanwhile, and it stops as it should once there is room."""
    run = small.make(tmp_path / "runs", small.step('head -c 900k /dev/zero >"$2/x.txt" || cp /dev/null ../failed'))
    disk = tmp_path / "disk"
    disk.mkdir()
    argv = [
        *in_a_small_tmpfs(disk),
        sys.executable,
        "-c",
        FULL,
        str(run),
        str(disk),
        str(ROOT),
        str(tmp_path / "config"),
    ]
    ended = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {"beats": True, "code": 0}


FULL = """
import json, os, shutil, subprocess, sys, time
from pathlib import Path
source, disk, root, config = map(Path, sys.argv[1:])
run = disk / "small"
shutil.copytree(source, run)
argv = [sys.executable, str(root / "bin/supervise"), str(run), "--config", str(config)]
child = subprocess.Popen(argv, stdout=sys.stderr)
def until(what):
    end = time.monotonic() + 60
    while not what() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
until(lambda: (run / "../failed").exists())
with open(disk / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
    stamp = (run / "supervisor/heartbeat.json").stat().st_mtime_ns
    until(lambda: (run / "supervisor/heartbeat.json").stat().st_mtime_ns > stamp)
    beats = (run / "supervisor/heartbeat.json").stat().st_mtime_ns > stamp and child.poll() is None
os.unlink(disk / "filler")
(run / "supervisor/STOP").touch()
print(json.dumps({"beats": beats, "code": child.wait()}))
"""
