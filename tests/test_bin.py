"""The commands that look at a run: status and follow, and what all commands have in common."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.run import Run
from tests import small
from tests.small import OBSERVATION, ROOT, command, make, status, work

OURS = ("status", "follow", "check", "put", "retry", "pack", "unpack", "chat")


# -- every command ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_help_is_instant(name: str) -> None:
    seconds = []
    for _ in range(3):
        with open(os.devnull, "wb") as nowhere:
            child = subprocess.Popen([sys.executable, str(ROOT / "bin" / name), "--help"], stdout=nowhere)
            _, code, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(code)
        assert child.returncode == 0
        seconds.append(used.ru_utime + used.ru_stime)  # not wall seconds: other tests run beside this one
    assert min(seconds) < 0.3


@pytest.mark.parametrize("arguments", [
    ("status",), ("follow",), ("check",), ("put", "memory", "-"), ("retry", "10-list", "r1"), ("pack",), ("chat", "hi"),
], ids=lambda arguments: arguments[0])  # fmt: skip
@pytest.mark.parametrize("run", ["no-such-run", "."])
def test_no_such_run_is_one_line_and_2(arguments: tuple[str, ...], run: str, tmp_path: Path) -> None:
    ended = command(arguments[0], run, *arguments[1:], cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"bin/{arguments[0]}: {run}: ") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["status", "check", "pack"])
@pytest.mark.parametrize("damage", ["{", '{"schema": "run.v1"}', "reads", "escape"])
def test_a_damaged_run_json_is_one_line_and_1(name: str, damage: str, finished: Path) -> None:
    document = json.loads((finished / "run.json").read_bytes())
    if damage == "reads":
        document["flow"]["10-list"]["reads"] = ["90-nothing/x"]
    if damage == "escape":
        document["services"] = {"../../escaped": {}}
    whole = damage in ("reads", "escape")
    (finished / "run.json").write_text(json.dumps(document) if whole else damage)
    ended = command(name, finished)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    assert "run.json" in ended.stderr and "Traceback" not in ended.stderr
    assert not list(finished.parent.parent.glob("**/escaped"))


@pytest.mark.parametrize("name", ["status", "pack", "put"])
def test_a_mailbox_that_is_a_link_is_not_opened(name: str, finished: Path, tmp_path: Path) -> None:
    shutil.rmtree(finished / "memory")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (finished / "memory").symlink_to(elsewhere)
    ended = command(name, finished, *(("memory", OBSERVATION) if name == "put" else ()))
    assert ended.returncode == 1 and "memory: a link" in ended.stderr
    assert list(elsewhere.iterdir()) == []


# -- status -----------------------------------------------------------------------------------------------------


def test_status_of_a_finished_run(done: Path) -> None:
    found = status(done)
    assert list(found) == ["run", "state", "steps", "spend", "verdict"]
    assert (found["run"], found["state"]) == ("small", "done")
    assert [(one["step"], one["id"], one["state"], one["tries"]) for one in found["steps"]] == [
        (name, "r1", "done", 1) for name in small.FLOW
    ]
    assert all(list(one) == ["step", "id", "state", "tries", "seconds", "usd"] for one in found["steps"])
    assert list(found["spend"]) == ["usd", "gpu_s", "seconds", "cpu_s", "tokens"]
    assert found["spend"]["seconds"] == pytest.approx(sum(one["seconds"] for one in found["steps"]), abs=0.01)
    assert found["verdict"] == {"taught": "better", "unseen": "cannot tell", "general": "worse"}


def test_status_for_people(done: Path) -> None:
    lines = command("status", done).stdout.splitlines()
    assert lines[0] == "small: done"
    assert lines[2].split()[:4] == ["10-list", "r1", "done", "1"]
    assert "memory: nothing asked" in lines
    assert "verdict: taught better, unseen cannot tell, general worse" in lines


def test_states_follow_from_the_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "runs", small.step('test -e go && echo x >"$2/x.txt"', tries=1))
    assert status(folder)["state"] == "waiting"
    (folder / "HOLD").touch()
    assert {status(folder)["state"], status(folder)["steps"][0]["state"]} == {"held"}
    (folder / "HOLD").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        work(folder, "10-one")
    assert (status(folder)["state"], status(folder)["steps"][0]["tries"]) == ("dead", 1)
    assert "bring it back: bin/retry" in command("status", folder).stdout
    (folder / "go").touch()
    command("retry", folder, "10-one", "r1")
    work(folder, "10-one")
    found = status(folder)
    assert (found["state"], found["steps"][0]["tries"]) == ("done", 2)


def test_a_working_and_a_failed_step(tmp_path: Path) -> None:
    folder = make(tmp_path / "runs", small.step("echo at work; sleep 60"))
    child = subprocess.Popen(small.agent(folder, "10-one"), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: status(folder)["state"] == "running")
        child.terminate()
        child.wait(20)
    finally:
        child.kill()
    assert status(folder)["state"] in ("waiting", "failed")  # stopped by request: no failure that counts


def test_status_of_many_replies_reads_none(finished: Path) -> None:
    box = finished / "memory" / "outbox"
    for number in range(5_000):
        os.close(os.open(box / f"q-{number}.json", os.O_CREAT | os.O_WRONLY))  # empty: reading one would fail
    for arguments in ((), ("--json",)):
        before = os.times()
        ended = command("status", finished, *arguments)
        used = os.times()
        assert ended.returncode == 0, ended.stderr
        assert used.children_user + used.children_system - before.children_user - before.children_system < 1.0
    assert "memory: 5,000 done" in command("status", finished).stdout


def test_every_setting_with_its_source(finished: Path) -> None:
    document = json.loads((finished / "run.json").read_bytes())
    document["flow"]["20-sum"]["minutes"] = 7
    (finished / "run.json").write_text(json.dumps(document))
    lines = command("status", finished, "--config").stdout.splitlines()
    assert "flow.20-sum.minutes = 7  (run.json)" in lines
    assert "flow.20-sum.tries = 3  (default)" in lines
    assert any(line.startswith("usd_per_gpu_hour = ") and line.endswith("(config/infra.yaml)") for line in lines)
    assert any(line.startswith("budget.wall_hours = ") and line.endswith("(goal.md)") for line in lines)


def test_what_a_letter_says_cannot_drive_the_terminal(tmp_path: Path) -> None:
    folder = make(tmp_path / "runs", small.step("x"))
    run = Run(folder)
    run.mailbox("10-one").bury("r1", "refused", "red \x1b[31m\x1b]0;title\x07\r\u202e\ud800 end\nnext line")
    run.close()
    for name in ("status", "check"):
        (line,) = (line for line in command(name, folder).stdout.split("\n") if "red" in line)
        assert "end next line" in line and not set(line) & set("\x1b\x07\r\u202e")
        assert all(char.isprintable() for char in line)


# -- follow -----------------------------------------------------------------------------------------------------

TALK = (
    r"""echo '{"say": "from the child", "loss": 1.5}'; printf 'a \033[31mred\033[0m line\r\n50%%\r100%%\n'; sleep 60"""
)


def wait_for(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_follow_shows_a_try_that_begins_later_and_ends_with_0(tmp_path: Path) -> None:
    folder = make(tmp_path / "runs", small.step(TALK))
    shown = tmp_path / "shown"
    with open(shown, "wb") as out:
        follower = subprocess.Popen([sys.executable, str(ROOT / "bin/follow"), str(folder)], stdout=out)
    worker = subprocess.Popen(small.agent(folder, "10-one"), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: b"100%" in shown.read_bytes() and b" loss 1.5\n" in shown.read_bytes())
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
    finally:
        worker.terminate()
        worker.wait(20)
        follower.kill()
    text = shown.read_text("utf-8")
    assert text.count("s  from the child loss 1.5\n") == 1 and '| {"say"' not in text, "once, though it is in two logs"
    assert "10-one r1 try-1 | a red line\n10-one r1 try-1 | 100%\n" in text


def test_follow_once_takes_torn_and_foreign_lines_as_they_are(finished: Path, tmp_path: Path) -> None:
    one = finished / "10-list" / "work" / "r1" / "try-1"
    one.mkdir(parents=True)
    (one / "log.txt").write_bytes(b'{"s": 0.5, "say": "first"}\n[1]\n\xff\xfe\n{"s": 1, "say": "seco')
    (tmp_path / "secret").write_text("not for you\n")
    (one / "child-1.log").symlink_to(tmp_path / "secret")
    os.mkfifo(one / "child-2.log")
    (finished / "supervisor" / "log.jsonl").write_text('{"time": "T", "event": "started", "program": "x"}\n' * 30)
    ended = command("follow", finished, "--once", "--lines", "3")
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        *["supervisor | T started: program x"] * 3,
        "10-list r1 try-1 |     0.5 s  first",
        "10-list r1 try-1 | [1]",
        "10-list r1 try-1 | ��",
    ]
