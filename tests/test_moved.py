"""A run that is copied while it works, again and again: every copy finishes elsewhere, with the same answers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import _recall
from bus.run import Run
from tests.small import ROOT, command, make

COPIES = 2
NEWS = 120  # hand-made requests just before each copy: nothing makes them again, and they keep the service busy
FLOW = {
    "10-list": {
        "command": ["sh", "-c", 'basename "${2%/try-*}" >"$2/list.txt"; mkdir "$2/more"; seq 99 >"$2/more/x"', "list"],
        "reads": ["goal.md", "before/20-sum/sum.txt"],
        "writes": {"list.txt": "text", "more/*": "text"},
    },
    "20-sum": {
        "command": ["sh", "-c", 'sort -V 10-list/outbox/*/list.txt >"$2/sum.txt"', "sum"],
        "reads": ["10-list/list.txt"],
        "writes": {"sum.txt": "text"},
    },
}  # fmt: skip


def supervise(folder: Path, config: Path) -> list[str]:
    return [sys.executable, str(ROOT / "bin/supervise"), str(folder), "--config", str(config)]


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Path]:
    """A run without an end, with all its agents at work."""
    folder = make(tmp_path / "runs", FLOW, name="busy")
    (folder / "ROUNDS").write_text("forever\n")
    with subprocess.Popen(supervise(folder, tmp_path / "config"), cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        try:
            yield folder
        finally:
            child.terminate()
            child.wait(60)


def rounds(run: Run) -> int:
    """How many rounds are done."""
    return len(run.mailbox("20-sum").listing().replies)


def tell(run: Run, copy: int) -> set[str]:
    """Put hand-made requests into the memory service; returns their IDs."""
    texts = [f"observation {number} before copy {copy}" for number in range(NEWS)]
    made = [_recall.observation("failure", run.name, 1, [], text, {}) for text in texts]
    for one in made:
        run.mailbox("memory").put(one["id"], one)
    return {one["id"] for one in made}


def test_every_copy_of_a_busy_run_loses_nothing_and_finishes(busy: Path, tmp_path: Path) -> None:
    original, told = Run(busy), []
    for copy in range(COPIES):
        until, before = time.monotonic() + 60, rounds(original)
        while rounds(original) < before + 2:
            assert time.monotonic() < until, "it does no work"
            time.sleep(0.02)
        told.append(tell(original, copy))
        assert command("pack", busy, "--live", "--force").returncode == 0
        ended = command("unpack", busy.with_name("busy.tar.gz"), "--runs", tmp_path / "there", "--name", f"c{copy}")
        assert ended.returncode == 0, ended.stderr
    (busy / "supervisor" / "STOP").touch()  # its agents need not take the copies' time
    for copy in range(COPIES):
        check_copy(busy, tmp_path / "there" / f"c{copy}", tmp_path / "config", set().union(*told[: copy + 1]))
    original.close()


def check_copy(busy: Path, folder: Path, config: Path, told: set[str]) -> None:
    """It holds all that was asked before it was made, finishes one round more, and differs in no answer."""
    run = Run(folder)
    look = run.mailbox("memory").listing()
    assert told <= look.requests | look.replies
    run.want_rounds(rounds(run) + 1)
    ended = subprocess.run(supervise(folder, config), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and ": done" in ended.stdout, ended.stdout + ended.stderr
    assert told <= run.mailbox("memory").listing().replies
    run.close()
    assert command("check", folder).returncode == 0
    compared = command("check", busy, folder)
    assert compared.returncode == 0, compared.stdout
    assert "the second was unpacked from an archive of the first" in compared.stdout
