"""Code of a model, closed in: what it cannot do, what it may use, and what happens where that cannot be had."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agents import _config
from agents.sandbox import tries
from agents.sandbox.cgroup import NoCgroup, delegating, homes, limited
from agents.sandbox.closed import MB, WORK, Limits, Ran, Refused, closed
from agents.sandbox.landlock import abi, rights
from agents.sandbox.proof import outside, prove
from tests.processes import PATIENCE_S, eventually, working_in

needs_bubblewrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
needs_landlock = pytest.mark.skipif(not abi(), reason="this kernel has no Landlock")
each_sandbox = pytest.mark.parametrize(
    "how", [pytest.param("bwrap", marks=needs_bubblewrap), pytest.param("landlock", marks=needs_landlock)]
)
LIMITS = Limits(seconds=PATIENCE_S, memory=512 * MB)
# Root's tests of what happens where no control group can be made: an empty folder lies over where they are made.
NO_GROUPS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup; exec "$@"', "sh"]
MAY_COVER = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
needs_root = pytest.mark.skipif(not MAY_COVER, reason="only root may cover a folder")
# A user namespace in which no pid namespace can be had, with control groups and without.
REFUSING = "echo 0 >/proc/sys/user/max_pid_namespaces"
NO_NAMESPACES = ["unshare", "-Urm", "sh", "-c", f'{REFUSING}; exec "$@"', "sh"]
NOTHING = ["unshare", "-Urm", "sh", "-c", f'mount -t tmpfs none /sys/fs/cgroup; {REFUSING}; exec "$@"', "sh"]
MAY_REFUSE = subprocess.run([*NOTHING, "true"], capture_output=True, check=False).returncode == 0
needs_user_namespaces = pytest.mark.skipif(not MAY_REFUSE, reason="this machine makes no user namespaces")
RUN = """
import sys
from pathlib import Path
from agents.sandbox.closed import Limits, closed
ran = closed(["sh", "-c", sys.argv[1]], Path(sys.argv[2]), Limits(seconds=float(sys.argv[3])), how="landlock")
print(ran.exit, ran.timed_out, ran.grouped)
"""
PROVE = """
import sys
from agents.sandbox.closed import Refused
from agents.sandbox.proof import prove
try:
    print(prove(sys.argv[1], gpu=len(sys.argv) > 2).line)
except Refused as error:
    print(error)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def shell(script: str, work: Path, how: str = "bwrap", **changes) -> Ran:
    return closed(["sh", "-c", script], work, replace(LIMITS, **changes), how=how)


# -- the proof ----------------------------------------------------------------------------------------------


@needs_bubblewrap
def test_bubblewrap_holds_on_this_machine() -> None:
    proof = prove("bwrap")
    assert (proof.how, proof.reduced, proof.lacking) == ("bwrap", False, ())
    assert proof.line.startswith("sandbox: bwrap, memory and processes by ")


@needs_landlock
def test_landlock_holds_less_and_says_so() -> None:
    proof = prove("landlock")
    assert proof.reduced and set(proof.lacking) <= {"processes"}
    assert proof.line.startswith("sandbox: landlock (reduced), ")


def test_the_same_tries_find_a_way_out_of_what_is_no_sandbox(tmp_path: Path) -> None:
    with outside(tmp_path) as given:
        argv = [sys.executable, tries.__file__, json.dumps(given)]
        ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    found = json.loads(ended.stdout)
    assert all(found.values()) and len(found) == 7, found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "secret"], "and they leave nothing outside"


def test_refuse_means_that_nothing_runs(work: Path) -> None:
    with pytest.raises(Refused, match=r"^sandbox: refuse, .*config/infra.yaml$"):
        closed(["touch", "ran"], work, how="refuse")
    with pytest.raises(Refused):
        prove("refuse")
    assert not list(work.iterdir())


def test_without_bubblewrap_closed_code_is_refused_in_one_line(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Refused) as refused:
        closed(["/bin/touch", "ran"], work)
    assert str(refused.value) == (
        "sandbox: bubblewrap is not installed; install it (apt install bubblewrap), or choose `sandbox: landlock`,"
        " which holds less, in config/infra.yaml"
    )
    old = tmp_path / "bin/bwrap"
    old.write_text("#!/bin/sh\necho '--json-status-fd --disable-userns'\n")
    old.chmod(0o755)
    with pytest.raises(Refused, match=r"has no --size; install bubblewrap 0\.8 or newer"):
        closed(["/bin/touch", "ran"], work)
    assert not list(work.iterdir())


def test_a_bubblewrap_that_cannot_run_here_is_told_from_a_program_that_fails(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot = tmp_path / "bwrap"
    cannot.write_text(
        "#!/bin/sh\necho '--json-status-fd --disable-userns --size'; echo 'bwrap: No permissions' >&2; exit 1"
    )
    cannot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Refused, match=r"^sandbox: cannot be made here \(bwrap: No permissions\); see `sandbox:`"):
        closed(["false"], work)


@needs_root
@needs_bubblewrap
def test_root_without_control_groups_is_refused_since_nothing_counts_its_processes() -> None:
    said = subprocess.run([*NO_GROUPS, sys.executable, "-c", PROVE, "bwrap"], capture_output=True, text=True).stdout
    assert said == (
        "sandbox: bwrap does not hold here: processes: 25 of them run at once; run Mailroom as another user than root,"
        " or let it make control groups in /sys/fs/cgroup\n"
    )


@needs_root
@needs_landlock
def test_root_without_control_groups_may_choose_landlock_which_says_what_it_lacks() -> None:
    said = subprocess.run([*NO_GROUPS, sys.executable, "-c", PROVE, "landlock"], capture_output=True, text=True).stdout
    assert said.startswith("sandbox: landlock (reduced), ") and said.endswith("; no limit of processes\n")


@needs_root
@needs_bubblewrap
def test_a_gpu_program_is_refused_where_no_control_group_limits_its_memory() -> None:
    argv = [*NO_GROUPS, sys.executable, "-c", PROVE, "bwrap", "gpu"]
    said = subprocess.run(argv, capture_output=True, text=True).stdout
    assert said.startswith("sandbox: no control group can be made (") and "GPU program's memory" in said


# -- what it sees -------------------------------------------------------------------------------------------


@needs_bubblewrap
def test_its_environment_is_empty_and_its_folder_lies_at_a_fixed_path(work: Path) -> None:
    (work / "given.txt").write_text("given\n")
    ran = shell("env; pwd; cat given.txt; echo made >made.txt; hostname; ls /proc/self/fd | wc -l", work)
    # The fourth descriptor is that of ls itself: none is left by which it could tell a false exit code.
    assert ran.output.splitlines() == [f"PWD={WORK}", WORK, "given", "closed", "4"]
    assert (work / "made.txt").read_text() == "made\n"
    assert not ran.reduced and not ran.exit


@needs_bubblewrap
def test_nothing_of_home_and_of_the_checkout_is_there(work: Path) -> None:
    ran = closed(["python", "-c", f"import os; print(os.listdir({str(_config.ROOT)!r}))"], work, LIMITS)
    assert ran.output == "['.venv']\n" or "FileNotFoundError" in ran.output, "the folder that holds Python alone"
    (Path(work.parent) / "private").write_text("private")
    assert shell(f"cat {work.parent}/private", work).exit == 1


@needs_bubblewrap
def test_it_has_no_capability_and_can_make_no_user_namespace_to_get_one(work: Path) -> None:
    ran = shell("grep -h ^Cap /proc/self/status; unshare -U true && echo made", work)
    assert {line.split()[1] for line in ran.output.splitlines() if line.startswith("Cap")} == {"0" * 16}
    assert "made" not in ran.output


@each_sandbox
def test_what_is_shown_can_be_read_and_not_changed(work: Path, tmp_path: Path, how: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.txt").write_text("rows\n")
    script = f"cat {tmp_path}/data/rows.txt; echo changed >{tmp_path}/data/rows.txt || echo refused"
    ran = closed(["sh", "-c", script], work, LIMITS, how=how, shown=[tmp_path / "data"], env={"PATH": "/usr/bin:/bin"})
    lines = ran.output.splitlines()
    assert (lines[0], lines[-1]) == ("rows", "refused") and (tmp_path / "data/rows.txt").read_text() == "rows\n"


@each_sandbox
def test_python_runs_with_what_is_installed(work: Path, how: str) -> None:
    ran = closed(["python", "-c", "import yaml, ssl, sqlite3; print(yaml.safe_load('a: 1'))"], work, LIMITS, how=how)
    assert (ran.output, ran.exit, ran.reduced) == ("{'a': 1}\n", 0, how == "landlock")


# -- how it ends --------------------------------------------------------------------------------------------


@each_sandbox
@pytest.mark.parametrize(
    ("script", "exit"), [("exit 3", 3), ("kill -KILL $$", 137), ("exec no-such-program", 127), ("exit 255", 255)]
)
def test_its_exit_code(work: Path, how: str, script: str, exit: int) -> None:
    assert shell(script, work, how).exit == exit


@each_sandbox
def test_time_that_runs_out_ends_all_of_it(work: Path, how: str) -> None:
    ran = shell("setsid sleep 600 & sleep 600", work, how, seconds=0.5)
    assert ran.timed_out and ran.exit == 137
    eventually(lambda: not working_in(work, "sleep"), "none is left")


@needs_landlock
@needs_user_namespaces
@pytest.mark.parametrize("around", [NO_NAMESPACES, NOTHING], ids=["no namespaces", "and no groups"])
@pytest.mark.parametrize(
    ("script", "seconds", "ends"),
    [
        ("setsid sleep 600 & sleep 600", 0.5, "137 True"),
        ("setsid sleep 600 >/dev/null 2>&1 & exit 3", PATIENCE_S, "3 False"),
        ("setsid sleep 600 >/dev/null 2>&1 & kill -KILL $$", PATIENCE_S, "137 False"),
    ],
    ids=["time", "exit", "death"],
)
def test_without_a_namespace_what_it_starts_ends_with_it_too(
    work: Path, around: list[str], script: str, seconds: float, ends: str
) -> None:
    argv = [*around, sys.executable, "-c", RUN, script, str(work), str(seconds)]
    ended = subprocess.run(argv, cwd=_config.ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert ended.stdout.startswith(ends), ended.stdout + ended.stderr
    assert around is NO_NAMESPACES or "True" not in ended.stdout.split()[-1]
    eventually(lambda: not working_in(work, "sleep"), "none is left")


@needs_landlock
@needs_user_namespaces
def test_without_a_namespace_it_ends_with_the_process_that_started_it(work: Path) -> None:
    script = "setsid sleep 600 & sleep 600"
    parent = subprocess.Popen([*NOTHING, sys.executable, "-c", RUN, script, str(work), "600"], cwd=_config.ROOT)
    eventually(lambda: len(working_in(work, "sleep")) == 2)
    parent.kill()
    parent.wait()
    eventually(lambda: not working_in(work, "sleep"), "none is left")


@needs_landlock
def test_what_is_left_in_a_control_group_is_killed(work: Path) -> None:
    try:
        with limited(64 * MB, 8) as words:
            left = subprocess.Popen([*words, "sleep", "600"], cwd=work, start_new_session=True)
            eventually(lambda: working_in(work, "sleep"))
    except NoCgroup as error:
        pytest.skip(f"no control group can be made here: {error}")
    assert left.wait(PATIENCE_S) == -9


@each_sandbox
def test_output_without_end_is_cut_to_its_last_part(work: Path, how: str) -> None:
    ran = shell("seq 300000; echo the end", work, how, output_bytes=1000)
    assert ran.cut and not ran.timed_out and len(ran.output) == 1000 and ran.output.endswith("300000\nthe end\n")
    short = shell("echo short", work, how)
    assert (short.output, short.cut) == ("short\n", False)
    flood = shell("yes", work, how, output_bytes=1000, seconds=0.5)
    assert flood.cut and flood.timed_out and len(flood.output) == 1000


@each_sandbox
def test_files_have_a_largest_size(work: Path, how: str) -> None:
    ran = shell("head -c 3000000 /dev/zero >large; wc -c <large", work, how, file_bytes=MB)
    assert ran.output.splitlines()[-1] == str(MB)


@needs_bubblewrap
def test_files_in_tmp_are_memory_and_count_as_such(work: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do head -c 8000000 /dev/zero >/tmp/$i; done; du -skx /tmp /dev/shm"
    ran = shell(script, work, memory=64 * MB)
    assert int(ran.output.splitlines()[-2].split()[0]) <= 64 * 1024 // 4


# -- what limits it -----------------------------------------------------------------------------------------


def test_a_control_group_is_taken_away_again_and_one_that_was_left_behind_too() -> None:
    try:
        places = set(homes().values())
        with limited(64 * MB, 8):
            during = [one for home in places for one in home.glob(f"mailroom-{os.getpid()}-*")]
    except NoCgroup as error:
        pytest.skip(f"no control group can be made here: {error}")
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [home / f"mailroom-{gone.pid}-1" for home in places]
    for one in left:
        one.mkdir()
    with limited(64 * MB, 8) as words:
        joined = subprocess.run([*words, "cat", "/proc/self/cgroup"], capture_output=True, text=True, check=True).stdout
    assert len(during) == len(places) and joined.count(f"mailroom-{os.getpid()}-") == len(places)
    assert not any(one.exists() for one in [*during, *left])


def test_in_version_2_the_nearest_group_that_hands_both_controllers_down_is_used(tmp_path: Path) -> None:
    for path, handed in {".": "cpu memory pids", "a": "memory pids", "a/b": "memory", "a/b/c": ""}.items():
        (tmp_path / path).mkdir(exist_ok=True)
        (tmp_path / path / "cgroup.subtree_control").write_text(handed + "\n")
    assert delegating(tmp_path, "/a/b/c", "/") == tmp_path / "a"
    assert delegating(tmp_path, "/", "/") == tmp_path
    assert delegating(tmp_path / "a/b", "/a/b/c", "/a/b") is None, "a container sees its own part of the tree alone"


def test_landlock_is_asked_only_for_what_the_kernels_abi_knows() -> None:
    assert [rights(version) for version in (1, 2, 3, 4, 5, 7)] == [0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF, 0xFFFF]


@pytest.mark.skipif(abi() > 0, reason="this kernel has Landlock")
def test_without_landlock_it_is_refused(work: Path) -> None:
    with pytest.raises(Refused, match="this kernel has none"):
        closed(["touch", "ran"], work, how="landlock")


def test_the_choice_is_checked_when_config_is_read(tmp_path: Path) -> None:
    shutil.copy(_config.FOLDER / "swarm.yaml", tmp_path)
    (tmp_path / "infra.yaml").write_text("sandbox: none\n")
    with pytest.raises(_config.ConfigError, match="'none' is not known; write one of bwrap, landlock, refuse"):
        _config.load(tmp_path)
    assert _config.load().infra["sandbox"] == "bwrap"
