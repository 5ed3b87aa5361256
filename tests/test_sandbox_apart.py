"""A command that runs apart: what it sees, how it ends, and what happens where it cannot be had."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents import _child
from agents.sandbox.apart import apart, why_not
from tests import small
from tests.processes import environment, eventually, is_alive, start, working_in

# Whether this machine lets anyone have a pid namespace is asked of another program than ours.
OTHERS = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--pid", "--fork", "--mount-proc", "true"]
HAS_NAMESPACES = subprocess.run(OTHERS, capture_output=True, check=False).returncode == 0
needs_namespaces = pytest.mark.skipif(not HAS_NAMESPACES, reason="this machine makes no pid namespaces")
CANARY = "canary-2b7e151628aed2a6"
LOOK = """
import glob, json, sys
def holds(path):
    try:
        return sys.argv[1].encode() in open(path, "rb").read()
    except OSError:
        return False
found = glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline")
print(json.dumps([sum(map(holds, (one for one in found if "environ" in one))), len(found)]))
"""
DIE = "import os, sys; os.kill(os.getpid(), int(sys.argv[1]))"
COUNT_SIGNALS = """
import os, signal, sys, time
heard = []
for one in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(one, lambda number, _: heard.append(number))
print("ready", flush=True)
while signal.SIGTERM not in heard:
    time.sleep(0.01)
time.sleep(0.3)  # a second one would arrive in this time
sys.exit(len(heard))
"""
# A user namespace in which the kernel refuses any further pid namespace, whoever asks.
REFUSING = 'echo 0 >/proc/sys/user/max_pid_namespaces; exec "$@"'


def python(code: str, *arguments: str, before: list[str] | None = None, **options) -> subprocess.CompletedProcess:
    argv = [*(apart() if before is None else before), sys.executable, "-I", "-S", "-c", code, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, **options)


@needs_namespaces
def test_it_sees_no_other_process_and_no_environment_but_its_own() -> None:
    with subprocess.Popen(["sleep", "60"], env={"SECRET": CANARY}) as holder:
        beside = json.loads(python(LOOK, CANARY, before=[], env={}).stdout)
        hidden = json.loads(python(LOOK, CANARY, env={}).stdout)
        holder.kill()
    assert beside[0] >= 1 and beside[1] > 6, "a process that is not apart does find it"
    assert hidden == [0, 4], "process 1, and the command: an environ and a cmdline each"


@needs_namespaces
def test_it_cannot_take_its_proc_away_to_see_the_other_one_below() -> None:
    ended = subprocess.run(
        [*apart(), "sh", "-c", "umount /proc 2>/dev/null; unshare -Urm umount /proc 2>/dev/null; ls -d /proc/[0-9]*"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert {int(one.removeprefix("/proc/")) for one in ended.stdout.split()} <= set(range(1, 20)), ended.stdout
    assert not ended.returncode


@needs_namespaces
@pytest.mark.parametrize("code", [0, 1, 7, 100, 137, 255])
def test_exit_codes_come_through(code: int) -> None:
    assert python(f"raise SystemExit({code})").returncode == code


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGXCPU])
def test_deaths_by_signal_come_through(number: int) -> None:
    assert python(DIE, str(int(number)), env={}).returncode == -number


@needs_namespaces
def test_a_signal_is_passed_on_once_and_the_command_may_end_as_it_likes() -> None:
    process = subprocess.Popen([*apart(), sys.executable, "-c", COUNT_SIGNALS], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        process.terminate()
    assert process.returncode == 2


@needs_namespaces
def test_descriptors_folder_and_environment_are_passed_on_and_files_are_the_machines_own(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"through the pipe")
    script = f'head -c 11 </dev/fd/{read} >out.txt; env >env.txt; echo "$A" >>out.txt'
    argv = [*apart(), "sh", "-c", script]
    subprocess.run(argv, cwd=tmp_path, env={"A": " and on"}, pass_fds=[read], check=True, timeout=60)
    os.close(read)
    os.close(write)
    assert (tmp_path / "out.txt").read_text() == "through the and on\n"
    names = {line.partition("=")[0] for line in (tmp_path / "env.txt").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"A"}, "the others are the shell's own"


@needs_namespaces
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_all_that_it_started_ends_with_it(tmp_path: Path, end: int) -> None:
    process = subprocess.Popen([*apart(), "sh", "-c", "setsid sleep 600 & exec sleep 600"], cwd=tmp_path)
    eventually(lambda: len(working_in(tmp_path, "sleep")) == 2, "both sleep")
    both = working_in(tmp_path, "sleep")
    process.send_signal(end)
    assert process.wait(60) == -end
    eventually(lambda: not any(map(is_alive, both)))


@needs_namespaces
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"import subprocess; subprocess.run({[*apart(), 'sleep', '600']!r})"
    parent = start("-c", code, cwd=tmp_path)
    eventually(lambda: working_in(tmp_path, "sleep"))
    (child,) = working_in(tmp_path, "sleep")
    parent.kill()
    parent.communicate()
    eventually(lambda: not is_alive(child))


@needs_namespaces
def test_hidden_files_read_as_empty_and_stay_so(tmp_path: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text(CANARY)
    other.write_text("seen\n")
    script = "umount key 2>/dev/null; cat key other"
    argv = [*apart(hide=[key, tmp_path / "absent"]), "sh", "-c", script]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "seen\n" and key.read_text() == CANARY


@needs_namespaces
def test_a_child_of_a_job_fails_as_it_did_and_its_log_does_not_tell_of_the_namespace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(_child.ChildFailed, match="was ended by SIGABRT") as failed:
        _child.run(
            ["sh", "-c", "echo said; kill -ABRT $$"],
            log,
            name="aborts",
            cwd=tmp_path,
            env={},
            pass_fds=(),
            before=apart(),
            heard=print,
        )
    assert (failed.value.exit, failed.value.signal) == (None, "SIGABRT")
    assert log.read_text().splitlines() == ["$ sh -c 'echo said; kill -ABRT $$'", "said"]


@needs_namespaces
def test_a_command_that_is_not_there() -> None:
    ended = subprocess.run([*apart(), "no-such-command"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 127
    assert ended.stderr == "no-such-command: cannot be run: No such file or directory\n"


@needs_namespaces
def test_a_steps_command_runs_apart_with_a_clean_environment(tmp_path: Path) -> None:
    flow = small.step('{ echo /proc/[0-9]*; env; cat /proc/1/environ | tr "\\0" "\\n"; } >"$2/x.txt"')
    folder = small.make(tmp_path / "runs", flow)
    env = environment(OPENROUTER_API_KEY=CANARY, https_proxy=f"http://{CANARY}@127.0.0.1:9")
    subprocess.run(small.agent(folder, "10-one"), cwd=small.ROOT, env=env, check=True, timeout=60)
    first, *variables = (folder / "10-one/outbox/r1/x.txt").read_text().splitlines()
    assert first.split() == ["/proc/1", "/proc/2"]
    assert any(one.startswith("PATH=") for one in variables)
    assert CANARY not in "\n".join(variables)
    assert why_not() == ""


@pytest.mark.skipif(
    subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False).returncode != 0,
    reason="this machine makes no user namespaces",
)
def test_where_it_cannot_be_had_the_start_says_so_and_goes_on(tmp_path: Path) -> None:
    folder = small.make(tmp_path / "runs", small.step('cp "$2/../log.txt" "$2/x.txt"'))
    argv = ["unshare", "-Ur", "sh", "-c", REFUSING, "sh", *small.agent(folder, "10-one")]
    ended = subprocess.run(argv, cwd=small.ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line)["say"] for line in (folder / "10-one/outbox/r1/x.txt").read_text().splitlines()]
    assert said == [
        "the command sees other processes, and what they hold: no pid namespace of its own"
        " (user.max_pid_namespaces or user.max_user_namespaces is used up); allow user namespaces on this machine"
    ]
