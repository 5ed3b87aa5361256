"""What a pack leaves behind in the run: HOLD, so that original and copy do not both go on, and the archive's sha256."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import _lineage
import _staging
from tests.small import ROOT, command, make, replies, status, tree, work


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def packed(run: Path) -> list[str]:
    """What packed.json keeps."""
    return list(json.loads((run / "packed.json").read_bytes())["archives"])


def test_the_original_stays_held_and_says_where_its_copy_is(tmp_path: Path) -> None:
    folder = make(tmp_path / "runs")
    ended = command("pack", folder, "--out", tmp_path / "there.tar.gz")
    known = sha256(tmp_path / "there.tar.gz")
    assert f"rm {folder}/HOLD" in ended.stdout
    text = (folder / "HOLD").read_text()
    assert text == (
        f"bin/pack: packed as there.tar.gz (sha256 {known}); the copy goes on elsewhere; to go on here: rm HOLD\n"
    )
    assert packed(folder) == [known]
    assert status(folder)["state"] == "held" and text.strip() in command("check", folder).stdout
    with pytest.raises(subprocess.CalledProcessError):
        work(folder, "10-list")
    command("unpack", tmp_path / "there.tar.gz", "--runs", tmp_path / "there")
    work(tmp_path / "there" / "small", config=tmp_path / "config")
    (folder / "HOLD").unlink()
    work(folder)
    assert replies(folder) == replies(tmp_path / "there" / "small")


def test_a_live_copy_leaves_its_sha256_behind_and_no_hold(finished: Path) -> None:
    target = finished.with_name("small.tar.gz")
    for expected in (1, 1, 2):  # twice the same bytes, then others
        if expected == 2:
            (finished / "ROUNDS").write_text("2\n")
        assert command("pack", finished, "--live", "--force").returncode == 0
        assert len(packed(finished)) == expected and packed(finished)[-1] == sha256(target)
    assert not (finished / "HOLD").exists()
    with tarfile.open(target) as tar:
        assert "small/packed.json" not in tar.getnames()


def test_a_hold_that_a_person_set_stays_and_travels(finished: Path, tmp_path: Path) -> None:
    (finished / "HOLD").write_text("until Monday\n")
    assert command("pack", finished).returncode == 0
    ended = command("unpack", finished.with_name("small.tar.gz"), "--runs", tmp_path / "there")
    assert f"rm {tmp_path}/there/small/HOLD" in ended.stdout
    for run in (finished, tmp_path / "there" / "small"):
        assert (run / "HOLD").read_text() == "until Monday\n"


@pytest.mark.parametrize("before", ["packed", "killed"])
def test_a_hold_of_its_own_is_left_behind(before: str, finished: Path, tmp_path: Path) -> None:
    if before == "packed":
        command("pack", finished)
    else:
        (finished / "HOLD").write_text(_lineage.READING)
    for more in ([], ["--live"]):
        assert command("pack", finished, "--force", *more).returncode == 0
        with tarfile.open(finished.with_name("small.tar.gz")) as tar:
            assert "small/HOLD" not in tar.getnames()
    assert packed(finished)[-1] in (finished / "HOLD").read_text()


def test_a_pack_that_fails_leaves_an_earlier_ones_hold(finished: Path) -> None:
    command("pack", finished)
    before = tree(finished)
    (finished / "monitor").symlink_to("/etc")
    assert command("pack", finished, "--force").returncode == 1
    (finished / "monitor").unlink()
    assert tree(finished) == before


HOLDS = """
import sys
from pathlib import Path
import _staging
with _staging.draft_file(Path(sys.argv[1])) as (path, file):
    print(path, flush=True)
    sys.stdin.read()
"""


def test_the_next_one_removes_the_draft_of_a_killed_one_and_nothing_else(finished: Path) -> None:
    target = finished.with_name("small.tar.gz")
    mine = target.with_name(".small.tar.gz-of-mine")
    mine.touch()
    argv = [sys.executable, "-c", HOLDS, str(target)]
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'bin'}"}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        draft = Path(other.stdout.readline().strip())
        for killed in (False, True):
            if killed:
                other.kill()
                other.wait(20)
            assert command("pack", finished, "--force").returncode == 0
            assert draft.exists() is not killed
    assert mine.exists()


# -- two at once, and a signal ----------------------------------------------------------------------------------

SLOWLY = """
import runpy, sys, time
import _archive
real = _archive.write
def write(*arguments):  # ends when the others have begun, too
    count = real(*arguments)
    print("read", flush=True)
    sys.stdin.readline()
    return count
_archive.write = write
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, str(ROOT / "bin/pack"), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'bin'}"}
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def both(run: Path, *outs: Path) -> list[tuple[int, str]]:
    """(exit code, stderr) of live packs of a run that read it at once, and end one after another."""
    packers = []
    for number, out in enumerate(outs, 1):
        (run / "ROUNDS").write_text(f"{number}\n")  # so that no two archives are the same
        packers.append(packer := child(SLOWLY, run, "--live", "--out", out))
        assert packer.stdout is not None and packer.stdout.readline() == "read\n"
    return [(packer.returncode, said) for packer in packers for said in [packer.communicate("\n", timeout=60)[1]]]


def test_two_at_once_to_one_name_do_not_replace_each_other(finished: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.tar.gz"
    codes = both(finished, target, target)
    assert [code for code, _ in codes] == [0, 2] and "is there already" in codes[1][1]
    assert packed(finished) == [sha256(target)], "what did not come to be is not told of"
    assert [path.name for path in tmp_path.glob("*x.tar.gz*")] == ["x.tar.gz"]


def test_each_of_two_live_copies_is_remembered(finished: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"]
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(finished / "supervisor/pack.lock")],
        env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdin is not None and other.stdout.readline()
        ended = command("pack", finished, "--live", "--wait", "0.3", "--out", outs[0])
        assert ended.returncode == 75 and "another bin/pack" in ended.stderr
        assert not (finished / "packed.json").exists() and not list(tmp_path.glob("*a.tar.gz*"))
        other.stdin.close()
    assert [code for code, _ in both(finished, *outs)] == [0, 0]
    assert sorted(packed(finished)) == sorted(map(sha256, outs))


LOCKED = """
import os, sys
from bus import locks
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
print(locks.take(descriptor), flush=True)
sys.stdin.read()
"""
STOPPED = """
import os, runpy, signal, sys
name, when = sys.argv[2:4]
real = getattr(os, name)
def call(source, target, **more):
    ours = str(target).endswith("x.tar.gz")
    if ours and when == "before":
        os.kill(os.getpid(), signal.SIGINT)
    real(source, target, **more)
    if ours and when == "after":
        os.kill(os.getpid(), signal.SIGINT)
setattr(os, name, call)
sys.argv = [sys.argv[1], *sys.argv[4:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("more", [[], ["--force"]])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_at_the_last_call_leaves_all_or_nothing(
    when: str, more: list[str], finished: Path, tmp_path: Path
) -> None:
    """Ctrl-C just before, and just after, the archive has its name."""
    before, target = tree(finished), tmp_path / "x.tar.gz"
    packer = child(STOPPED, "rename" if more else "link", when, finished, "--out", target, *more)
    packer.communicate(timeout=60)
    assert packer.returncode == 1
    (finished / "supervisor/pack.lock").unlink()
    if when == "before":
        assert tree(finished) == before and not list(tmp_path.glob("*x.tar.gz*"))
    else:
        assert packed(finished) == [sha256(target)] and sha256(target) in (finished / "HOLD").read_text()
        assert [path.name for path in tmp_path.glob("*x.tar.gz*")] == ["x.tar.gz"]


def test_a_disk_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # as FAT says it

    monkeypatch.setattr(os, "link", no_link)
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    _staging.appear(tmp_path / "one", tmp_path / "target")
    with pytest.raises(FileExistsError):
        _staging.appear(tmp_path / "two", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "one"


def test_a_failed_live_copy_leaves_a_persons_hold_as_it_was(finished: Path, tmp_path: Path) -> None:
    (finished / "HOLD").write_text("until Monday\nplease\n")
    packer = child(STOPPED, "link", "before", finished, "--live", "--out", tmp_path / "x.tar.gz")
    packer.communicate(timeout=60)
    assert packer.returncode == 1 and (finished / "HOLD").read_text() == "until Monday\nplease\n"
