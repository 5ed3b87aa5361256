"""A run as one file: what is packed comes out whole elsewhere, also from a run that works."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import _archive
from bus.run import Run
from tests import small
from tests.small import ROOT, command, make, replies, status, tree, work

TOKEN = "hf_" + "aB" * 17  # of the form of a token, and nobody's
SLOW = small.FLOW | {
    "20-sum": {
        "command": ["sh", "-c", 'touch at-work; until test -e go; do sleep 0.05; done; echo 5 >"$2/sum.txt"', "sum"],
        "reads": ["10-list/list.txt"],
        "writes": {"sum.txt": "text"},
    },
}


# -- there and back ---------------------------------------------------------------------------------------------


def test_what_is_packed_comes_out_whole(done: Path, archive: Path, tmp_path: Path) -> None:
    ended = command("unpack", archive, "--runs", tmp_path / "new" / "runs")
    there = tmp_path / "new" / "runs" / "small"
    assert ended.returncode == 0 and f"bin/check {there}" in ended.stdout, ended.stderr
    found = tree(there)
    assert json.loads(found.pop("lineage.json")[1])["archives"] == [{"sha256": sha256(archive), "run": "small"}]
    assert found == tree(done)
    assert command("check", there).returncode == 0
    assert os.listdir(there.parent) == ["small"], "no draft is left"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_packs_are_the_same_bytes(finished: Path, archive: Path, tmp_path: Path) -> None:
    os.utime(finished / "goal.md", (1, 1))
    os.chmod(finished / "goal.md", 0o600)
    assert command("pack", finished, "--out", tmp_path / "two.tar.gz").returncode == 0
    assert (tmp_path / "two.tar.gz").read_bytes() == archive.read_bytes()
    ended = command("pack", finished, "--out", tmp_path / "three.tar.gz")  # though it is held now, and says so
    assert (tmp_path / "three.tar.gz").read_bytes() == archive.read_bytes()
    assert sha256(archive) in ended.stdout


def test_nothing_of_this_machine_goes_along(finished: Path, tmp_path: Path) -> None:
    for name in ("lock", "guard.lock", "STOP"):
        (finished / "supervisor" / name).touch()
    (finished / "10-list" / "inbox" / ".draft-7-ab").touch()
    begun = finished / "memory" / "inbox" / "q-1.json"
    begun.write_text("{}")
    begun.chmod(0o744)  # how a service's request looks while it is worked on
    assert command("pack", finished, "--out", tmp_path / "x.tar.gz").returncode == 0
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        members = tar.getmembers()
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "", "", 0)}
    names = [one.name for one in members]
    assert [name for name in names if "lock" in name or "STOP" in name or ".draft" in name] == []
    assert next(one.mode for one in members if one.name == "small/memory/inbox/q-1.json") == 0o644


def test_steps_are_read_before_services_and_each_inbox_before_any_outbox(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = [name.split("/")[1:3] for name in tar.getnames() if name.count("/") >= 2]
    places = [(box == "memory", part) for box, part in names if part in ("inbox", "work", "outbox")]
    assert places == sorted(places, key=lambda place: (place[0], ("inbox", "work", "outbox").index(place[1])))
    assert {(False, "outbox"), (True, "inbox"), (True, "outbox")} <= set(places)


def test_plain_tar_unpacks_it_too(archive: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "xzf", str(archive)], cwd=tmp_path, check=True, timeout=30)
    assert command("check", tmp_path / "small").returncode == 0


def test_under_another_name(archive: Path, tmp_path: Path) -> None:
    assert command("unpack", archive, "--runs", tmp_path, "--name", "other").returncode == 0
    assert (status(tmp_path / "other")["run"], status(tmp_path / "other")["state"]) == ("other", "done")
    again = command("unpack", archive, "--runs", tmp_path, "--name", "other")
    assert again.returncode == 2 and "is there already" in again.stderr
    for bad in ("../up", "memory", "A b"):
        assert command("unpack", archive, "--runs", tmp_path, "--name", bad).returncode == 2
    assert os.listdir(tmp_path) == ["other"]


# -- a run that works -------------------------------------------------------------------------------------------


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Path]:
    """A run whose second step works until the file `go` appears."""
    folder = make(tmp_path / "runs", SLOW)
    work(folder, "10-list")
    child = subprocess.Popen(small.agent(folder, "20-sum"), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for(folder / "at-work")
        yield folder
    finally:
        child.terminate()
        child.wait(20)


def wait_for(path: Path, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_a_live_copy_finishes_elsewhere_with_the_same_replies(working: Path, tmp_path: Path) -> None:
    assert command("pack", working, "--live", "--out", tmp_path / "live.tar.gz").returncode == 0
    assert status(working)["state"] == "running" and not (working / "HOLD").exists()
    command("unpack", tmp_path / "live.tar.gz", "--runs", tmp_path / "there", "--name", "moved")
    moved = tmp_path / "there" / "moved"
    assert status(moved)["state"] in ("failed", "waiting"), "nobody works on the copy"
    for folder in (moved, working):
        (folder / "go").touch()
    work(moved, "20-sum", "30-judge", config=tmp_path / "config")
    wait_for(working / "20-sum" / "outbox" / "r1" / "reply.json")
    work(working, "30-judge")
    assert status(moved)["state"] == status(working)["state"] == "done"
    assert replies(moved) == replies(working)
    for folder in (moved, working):
        for name in ("at-work", "go"):
            (folder / name).unlink()
        assert command("check", folder).returncode == 0


def test_it_waits_until_nothing_works(working: Path, tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "bin/pack"), str(working), "--out", str(tmp_path / "x.tar.gz")]
    packer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    wait_for(working / "HOLD")
    assert packer.stderr is not None and "waiting for 20-sum r1 to end" in packer.stderr.readline()
    (working / "go").touch()
    assert packer.wait(30) == 0
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        names = tar.getnames()
    assert "small/20-sum/outbox/r1/reply.json" in names and "small/HOLD" not in names


def test_it_gives_up_waiting_and_lets_the_run_go_on(working: Path, tmp_path: Path) -> None:
    ended = command("pack", working, "--wait", "0.3", "--out", tmp_path / "x.tar.gz")
    assert ended.returncode == 75 and "20-sum r1 still works" in ended.stderr
    assert not (working / "HOLD").exists() and not list(tmp_path.glob("*x.tar.gz*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_waits_it_leaves_nothing(number: int, working: Path, tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "bin/pack"), str(working), "--out", str(tmp_path / "x.tar.gz")]
    packer = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    wait_for(working / "HOLD")
    packer.send_signal(number)
    assert packer.wait(20) == 1
    assert not (working / "HOLD").exists() and not list(tmp_path.glob("*x.tar.gz*"))


@pytest.mark.parametrize("again", [False, True])
def test_a_reply_that_is_set_aside_while_it_is_read_is_not_packed_in_part(again: bool, finished: Path) -> None:
    """Its reply.json has been read; then the reply goes, or another stands in its place with other bytes."""
    run, reply = Run(finished), finished / "10-list/outbox/r1"
    (reply / "zoo").mkdir()  # read after reply.json
    (reply / "zoo/x.txt").write_text("x")
    seen = []

    def at(text: str) -> None:
        if not seen and "10-list/outbox/r1/reply.json" in text:
            seen.append(text)
        elif len(seen) == 1:
            seen.append(text)
            assert run.set_aside("10-list", "r1")
            if again:
                shutil.copytree(finished / "10-list/stale/r1-1", reply)
                (reply / "zoo/x.txt").write_text("y")

    with pytest.raises(_archive.Unpackable, match=r"10-list/outbox/r1.*went away.*pack it again"):
        _archive.write(finished, "small", io.BytesIO(), machine(), frozenset(), at)
    run.close()
    assert len(seen) == 2
    assert _archive.write(finished, "small", io.BytesIO(), machine(), frozenset(), lambda text: None)


def test_a_folder_of_a_reply_that_goes_is_missed(finished: Path) -> None:
    reply = finished / "10-list/outbox/r1"

    def at(text: str) -> None:
        if "10-list/outbox/r1/more" in text and (reply / "more").exists():
            shutil.rmtree(reply / "more")

    with pytest.raises(_archive.Unpackable, match="10-list/outbox/r1/more: went away"):
        _archive.write(finished, "small", io.BytesIO(), machine(), frozenset(), at)


def machine() -> dict[str, Any]:
    from _machine import record

    return record()


# -- what is not packed -----------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a secret in weights": (lambda run: (run / "supervisor/x").write_bytes(b"\0\1 " + TOKEN.encode()), "a Hugging"),
    "a secret": (lambda run: (run / "supervisor/log.jsonl").write_text(f"x {TOKEN}\n"), "line 1: looks like a Hug"),
    "a secret in a name": (lambda run: (run / f"supervisor/{TOKEN}").touch(), "its name looks like a Hugging"),
    "a secret in a folder's name": (lambda run: (run / f"config/{TOKEN}").mkdir(parents=True), "its name looks like a"),
    "a link": (lambda run: (run / "10-list/outbox/r1/x").symlink_to("/etc/passwd"), "outbox/r1/x: is a symbolic link"),
    "a linked folder": (lambda run: (run / "monitor").symlink_to("/etc"), "monitor: is a symbolic link"),
    "a pipe": (lambda run: os.mkfifo(run / "supervisor/p"), "supervisor/p: is a named pipe"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("live", [False, True])
def test_what_must_not_leave_stops_the_pack(kind: str, live: bool, finished: Path) -> None:
    spoil, said = REFUSED[kind]
    spoil(finished)
    ended = command("pack", finished, *(["--live"] if live else []))
    assert ended.returncode == 1 and said in ended.stderr and ended.stderr.count("\n") == 1
    assert TOKEN not in ended.stderr
    assert os.listdir(finished.parent) == ["small"] and not {"HOLD", "packed.json"} & set(os.listdir(finished))


def test_a_file_that_is_there_is_not_replaced_unasked(finished: Path) -> None:
    target = finished.with_name("small.tar.gz")
    target.write_text("mine")
    refused = command("pack", finished)
    assert refused.returncode == 2 and "--force" in refused.stderr and target.read_text() == "mine"
    assert command("pack", finished, "--force").returncode == 0
    assert target.read_bytes()[:2] == b"\x1f\x8b"
    inside = command("pack", finished, "--out", finished / "x.tar.gz")
    assert inside.returncode == 2 and not (finished / "x.tar.gz").exists()
