"""What a pack leaves behind in the run: HOLD, so that original and copy do not both go on, and the archive's sha256."""

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import _lineage
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
