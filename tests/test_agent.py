"""Agents as processes, on flows of shell scripts: any executable can be a step."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agents import _config
from agents._command import located
from agents._run import create_run
from bus import files, schema
from bus.run import Run
from tests.processes import ROOT, eventually, is_alive, run, start, working_in

DONE, FAILED, USAGE, BUSY, WAITING, GAVE_UP = 0, 1, 2, 75, 76, 100

MAKE = r"""
request=$1 out=$2
grep -v '^---' goal.md | tr -cs 'a-z' '\n' > "$out/words.txt"
echo '{"say": "words are made", "step": 1, "total": 1}'
"""
COUNT = r"""
request=$1 out=$2
words=$(sed -n 's|.*"\([^"]*outbox[^"]*words.txt\)".*|\1|p' "$request")
sort "$words" | uniq -c | sort -rn > "$out/counts.txt"
"""
TELL = r"""
request=$1 out=$2
counts=$(sed -n 's|.*"\([^"]*outbox[^"]*counts.txt\)".*|\1|p' "$request")
head -3 "$counts" > "$out/top.txt"
"""
DEDUPE = r"""
request=$1 out=$2
words=$(sed -n 's|.*"\([^"]*outbox[^"]*words.txt\)".*|\1|p' "$request")
sort -u "$words" > "$out/words.txt"
"""
GOAL = """---
name: tiny
base: embedded
sources: [pydoc:json]
---
the cat the dog the end

## Topics
- **Words**: words and how often they come
"""


class Shop:
    """A config folder with scripts, and a run made from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.config.mkdir()
        (self.config / "infra.yaml").write_text("budget: {usd: 0}\n")
        self.flow: dict[str, dict] = {}

    def step(self, name: str, script: str, reads: list[str], writes: list[str], **more) -> None:
        path = self.folder / f"{name}.sh"
        path.write_text(f"#!/bin/sh\nset -e\n{script}")
        path.chmod(0o755)
        writes_of = dict.fromkeys(writes, "text")
        self.flow[name] = {"command": [str(path)], "reads": reads, "writes": writes_of, **more}

    def line_of_three(self) -> None:
        self.step("40-make", MAKE, ["goal.md"], ["words.txt"])
        self.step("50-count", COUNT, ["40-make/words.txt"], ["counts.txt"])
        self.step("60-tell", TELL, ["50-count/counts.txt"], ["top.txt"])

    def open(self, name: str = "tiny", goal: str = GOAL) -> Run:
        (self.config / "swarm.yaml").write_text(yaml.safe_dump({"flow": self.flow, "services": {}}))
        config = _config.load(self.config)
        return create_run(self.folder / "runs" / name, goal, 1, config.flow, config.services, "1")

    def agent(self, opened: Run, step: str, *more: str) -> subprocess.CompletedProcess:
        return run("-m", "agents._command", *self.arguments(opened, step), "--once", *more, cwd=ROOT)

    def watch(self, opened: Run, step: str) -> subprocess.Popen:
        return start("-m", "agents._command", *self.arguments(opened, step), "--watch", cwd=ROOT)

    def arguments(self, opened: Run, step: str) -> list[str]:
        return [str(opened.folder), "--step", step, "--config", str(self.config)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def one_step(shop: Shop, script: str, **more) -> Run:
    shop.step("10-only", script, ["goal.md"], ["answer.txt"], **more)
    return shop.open()


def crash(opened: Run, number: int) -> dict:
    path = opened.folder / "10-only/work/r1" / f"try-{number}" / "crash.json"
    return schema.check(json.loads(path.read_bytes()), "error.v1")


def test_three_shell_scripts_are_a_swarm(shop: Shop) -> None:
    shop.line_of_three()
    opened = shop.open()
    ended = [shop.agent(opened, step).returncode for step in shop.flow]
    assert ended == [DONE, DONE, DONE] and opened.done()
    assert (opened.folder / "60-tell/outbox/r1/top.txt").read_text().split()[:2] == ["3", "the"]
    reply = opened.reply("50-count", 1)
    assert reply is not None
    words = opened.folder / "40-make/outbox/r1/words.txt"
    assert reply["read"] == {"40-make/words.txt": files.sha256_file(words)}
    again = shop.agent(opened, "60-tell")
    assert (again.returncode, again.stdout) == (
        DONE,
        "60-tell: every round that is wanted has its reply; nothing to do\n",
    )


def test_a_step_is_inserted_between_two_others(shop: Shop) -> None:
    shop.line_of_three()
    shop.step("45-dedupe", DEDUPE, ["40-make/words.txt"], ["words.txt"])
    shop.step("50-count", COUNT, ["45-dedupe/words.txt"], ["counts.txt"])
    opened = shop.open()
    assert shop.agent(opened, "40-make").returncode == DONE
    waits = shop.agent(opened, "50-count")
    assert (waits.returncode, waits.stderr) == (WAITING, "50-count: r1 waits for 45-dedupe r1\n")
    assert [shop.agent(opened, step).returncode for step in ("45-dedupe", "50-count", "60-tell")] == [DONE] * 3
    top = (opened.folder / "60-tell/outbox/r1/top.txt").read_text().split()
    assert top[0::2] == ["1", "1", "1"]


def test_the_same_flow_under_the_supervisor(shop: Shop) -> None:
    shop.line_of_three()
    opened = shop.open()
    ended = run("bin/supervise", str(opened.folder), "--config", str(shop.config), cwd=ROOT)
    assert (ended.returncode, ended.stdout) == (DONE, "tiny: done\n"), ended.stderr
    assert opened.done()
    heart = schema.check(files.read_json(opened.folder / "supervisor/heartbeat.json"), "heartbeat.v1")
    assert heart["state"] == "done"


def test_a_failing_script_is_tried_again_and_given_up(shop: Shop) -> None:
    opened = one_step(shop, "echo it broke >&2; exit 1", tries=2)
    first = shop.agent(opened, "10-only")
    assert first.returncode == FAILED and "ended with exit 1: it broke" in first.stderr
    found = crash(opened, 1)
    assert (found["kind"], found["exit"], found["wait_s"]) == ("child", 1, 1.0)
    assert found["where"] == "10-only/work/r1/try-1" and found["last_lines"][-1] == "it broke"
    assert opened.mailbox("10-only").state("r1") == "failed"
    assert shop.agent(opened, "10-only").returncode in (FAILED, GAVE_UP)
    last = shop.agent(opened, "10-only")
    assert last.returncode == GAVE_UP and "given up; see" in last.stderr
    letter = schema.check(files.read_json(opened.folder / "10-only/dead/r1.json"), "dead.v1")
    assert letter["message"].startswith("2 tries failed; the last: ") and len(letter["tries"]) == 2
    opened.mailbox("10-only").revive("r1")
    assert shop.agent(opened, "10-only").returncode == FAILED


def test_a_script_that_gives_up_is_dead_at_once(shop: Shop) -> None:
    opened = one_step(shop, "echo no sense in trying; exit 100")
    ended = shop.agent(opened, "10-only")
    assert ended.returncode == GAVE_UP and "no sense in trying" in ended.stderr
    assert opened.mailbox("10-only").state("r1") == "dead"


def test_a_script_killed_by_a_signal_is_a_death(shop: Shop) -> None:
    opened = one_step(shop, "kill -9 $$")
    assert shop.agent(opened, "10-only").returncode == FAILED
    assert (crash(opened, 1)["kind"], crash(opened, 1)["signal"]) == ("death", "SIGKILL")


def test_what_the_flow_does_not_name_is_refused(shop: Shop) -> None:
    opened = one_step(shop, 'touch "$2/answer.txt" "$2/surprise.txt"')
    ended = shop.agent(opened, "10-only")
    assert ended.returncode == FAILED and "does not write surprise.txt" in ended.stderr
    assert not opened.mailbox("10-only").answered("r1")


def test_wrong_usage(shop: Shop, tmp_path: Path) -> None:
    opened = one_step(shop, 'touch "$2/answer.txt"')
    cases: list[tuple[list[str], str]] = [
        ([str(tmp_path)], "is no run"),
        ([str(opened.folder), "--step", "20-none"], "there is no step 20-none"),
        ([str(opened.folder), "--step", "10-only", "--config", str(tmp_path / "none")], "there is no such file"),
        ([str(opened.folder), "--nonsense"], "No such option"),
    ]
    for arguments, why in cases:
        ended = run("-m", "agents._command", *arguments, cwd=ROOT)
        assert ended.returncode == USAGE and why in ended.stderr and "Traceback" not in ended.stderr


def test_commands_come_from_this_machines_config_alone(shop: Shop) -> None:
    """A run that was unpacked says what it likes; only config/swarm.yaml is run."""
    opened = one_step(shop, 'touch "$2/answer.txt"')
    (shop.config / "swarm.yaml").write_text("flow: {}\n")
    ended = shop.agent(opened, "10-only")
    assert ended.returncode == GAVE_UP and "its command is not in" in ended.stderr


def test_a_relative_command_is_the_checkouts_never_the_runs(shop: Shop) -> None:
    assert located(["./a.sh", "../b", "sh", "c/d"]) == [f"{ROOT}/a.sh", f"{ROOT}/../b", "sh", "c/d"]
    assert located(["tools/a.sh"]) == [f"{ROOT}/tools/a.sh"]
    opened = one_step(shop, "")
    (opened.folder / "answer.sh").write_text('#!/bin/sh\ntouch "$2/answer.txt"\n')
    (opened.folder / "answer.sh").chmod(0o755)
    shop.flow["10-only"]["command"] = ["./answer.sh"]
    (shop.config / "swarm.yaml").write_text(yaml.safe_dump({"flow": shop.flow}))
    ended = shop.agent(opened, "10-only")
    assert ended.returncode == FAILED and "answer.sh" in ended.stderr
    assert not opened.mailbox("10-only").answered("r1")


def test_what_a_child_writes_is_checked_against_its_schema(shop: Shop) -> None:
    shop.step("10-only", 'echo \'{"schema": "metric.v1"}\' > "$2/rows.jsonl"', ["goal.md"], [])
    shop.flow["10-only"]["writes"] = {"rows.jsonl": "metric.v1"}
    opened = shop.open()
    ended = shop.agent(opened, "10-only")
    assert ended.returncode == FAILED and "metric.v1: the document" in ended.stderr, ended.stderr


def test_a_damaged_reply_is_told_in_one_line(shop: Shop) -> None:
    shop.line_of_three()
    opened = shop.open()
    assert shop.agent(opened, "40-make").returncode == DONE
    (opened.folder / "40-make/outbox/r1/reply.json").write_text("{")
    ended = shop.agent(opened, "50-count")
    assert ended.returncode == FAILED and "40-make/outbox/r1: not JSON" in ended.stderr
    assert "Traceback" not in ended.stderr


SLOW = """
echo '{"say": "begun"}'
exec sleep 600
"""
SLOW_ONCE = '[ "${2#*try-2}" != "$2" ] || exec sleep 600; echo yes > "$2/answer.txt"'


def until_begun(opened: Run) -> int:
    """The script's pid, once it sleeps; it cannot tell it itself, since it runs in a pid namespace of its own."""
    eventually(lambda: working_in(opened.folder, "sleep"), "the script runs")
    return working_in(opened.folder, "sleep")[0]


def test_busy_held_and_stopped(shop: Shop) -> None:
    opened = one_step(shop, SLOW)
    opened.advance()
    opened.hold.touch()
    held = shop.agent(opened, "10-only")
    assert held.returncode == BUSY and "the run is held; remove" in held.stderr
    opened.hold.unlink()
    serving = shop.watch(opened, "10-only")
    child = until_begun(opened)
    busy = shop.agent(opened, "10-only")
    assert (busy.returncode, busy.stderr) == (BUSY, "10-only: r1: another agent holds it\n")
    serving.terminate()
    _, said = serving.communicate(timeout=60)
    assert serving.returncode == DONE and "Traceback" not in said
    assert not is_alive(child)
    assert crash(opened, 1)["kind"] == "stopped"
    assert opened.mailbox("10-only").state("r1") == "waiting"


def test_stopped_by_hand(shop: Shop) -> None:
    opened = one_step(shop, SLOW)
    by_hand = start("-m", "agents._command", *shop.arguments(opened, "10-only"), "--once", cwd=ROOT)
    child = until_begun(opened)
    by_hand.send_signal(signal.SIGINT)
    _, said = by_hand.communicate(timeout=60)
    assert "stopped; the same command goes on" in said and "Traceback" not in said
    assert by_hand.returncode not in (DONE, FAILED) and not is_alive(child)


def test_a_killed_agent_is_followed_by_another_that_finishes(shop: Shop) -> None:
    opened = one_step(shop, SLOW.replace("exec sleep 600", SLOW_ONCE))
    serving = shop.watch(opened, "10-only")
    opened.advance()
    child = until_begun(opened)
    serving.kill()
    serving.communicate(timeout=60)
    eventually(lambda: not is_alive(child), "the command has ended with its agent")
    ended = shop.agent(opened, "10-only")
    assert ended.returncode == DONE, ended.stderr
    reply = opened.reply("10-only", 1)
    assert reply is not None and [one["kind"] for one in reply["tries"]] == ["death"]


def test_an_idle_agent_is_woken_by_a_request_and_served_in_rounds(shop: Shop) -> None:
    opened = one_step(shop, 'echo yes > "$2/answer.txt"')
    opened.want_rounds(3)
    serving = shop.watch(opened, "10-only")
    opened.advance()
    eventually(opened.done, "three rounds, each put by the end of the one before it")
    serving.terminate()
    serving.communicate(timeout=60)
    assert serving.returncode == DONE


def in_a_small_tmpfs(folder: Path) -> list[str]:
    """A command that runs the rest of its arguments with a tmpfs of 300 kB on `folder`; skips where nobody may."""
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    script = 'mount -t tmpfs -o size=300k tmpfs "$0" && shift 0 && exec "$@"'
    if subprocess.run([*mount, script, str(folder), "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    return [*mount, script, str(folder)]


FULL = """
import shutil, subprocess, sys
source, target, *agent = sys.argv[1:]
shutil.copytree(source, target, dirs_exist_ok=True)
codes = [subprocess.run(agent).returncode for _ in range(2)]
(__import__("pathlib").Path(target) / "room").touch()
codes += [subprocess.run(agent).returncode]
shutil.copytree(target, source, dirs_exist_ok=True)
print(codes)
"""


def test_a_full_disk_fails_one_try_and_loses_nothing(shop: Shop, tmp_path: Path) -> None:
    """The script fills the disk until there is room; then the same command is done."""
    script = 'size=100; [ -e room ] || size=1000; head -c ${size}k /dev/zero > "$2/answer.txt"'
    opened = one_step(shop, script, tries=2)
    opened.advance()
    small = tmp_path / "small"
    small.mkdir()
    agent = [sys.executable, "-m", "agents._command", str(small), "--once", "--step", "10-only"]
    argv = [*in_a_small_tmpfs(small), sys.executable, "-c", FULL, str(opened.folder), str(small), *agent]
    argv += ["--config", str(shop.config)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.stdout.splitlines()[-1:] == ["[1, 1, 0]"], ended.stderr
    assert (opened.folder / "10-only/outbox/r1/answer.txt").stat().st_size == 100 * 1024


def test_a_run_is_moved_between_two_steps(shop: Shop, tmp_path: Path) -> None:
    shop.line_of_three()
    opened = shop.open()
    assert shop.agent(opened, "40-make").returncode == DONE
    moved = tmp_path / "elsewhere/other-name"
    shutil.copytree(opened.folder, moved)
    for one in (opened, Run(moved)):
        assert [shop.agent(one, step).returncode for step in ("50-count", "60-tell")] == [DONE, DONE]
    ours, theirs = (one.folder / "60-tell/outbox/r1/top.txt" for one in (opened, Run(moved)))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_lost_input_is_waited_for_and_costs_no_try(shop: Shop) -> None:
    shop.line_of_three()
    opened = shop.open()
    assert shop.agent(opened, "40-make").returncode == DONE
    shutil.rmtree(opened.folder / "40-make/outbox/r1")
    waits = shop.agent(opened, "50-count")
    assert (waits.returncode, waits.stderr) == (WAITING, "50-count: r1 waits for 40-make r1\n")
    assert [shop.agent(opened, step).returncode for step in shop.flow] == [DONE, DONE, DONE]
    reply = opened.reply("50-count", 1)
    assert reply is not None and reply["tries"] == []


def test_a_changed_input_is_noticed(shop: Shop) -> None:
    shop.line_of_three()
    opened = shop.open()
    assert shop.agent(opened, "40-make").returncode == DONE
    with open(opened.folder / "40-make/outbox/r1/words.txt", "a") as words:
        words.write("more\n")
    ended = shop.agent(opened, "50-count")
    assert ended.returncode == GAVE_UP and "are not those that were replied" in ended.stderr


def test_nothing_of_a_run_names_this_host(shop: Shop, tmp_path: Path) -> None:
    shop.line_of_three()
    opened = shop.open()
    for step in shop.flow:
        shop.agent(opened, step)
    replies = [path for path in opened.folder.rglob("*") if path.is_file() and "supervisor" not in path.parts]
    assert len(replies) == 9
    for path in replies:
        assert str(tmp_path / "runs") not in path.read_text() and os.uname().nodename not in path.read_text()
