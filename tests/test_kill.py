"""Kill -9 at random moments: no acknowledged request is lost, none is answered twice, no reply changes."""

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from bus.mailbox import Mailbox
from tests.processes import run, start


def storm(*arguments: str) -> dict:
    ended = run("-m", "tests.storm", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return json.loads(ended.stdout)


@pytest.mark.parametrize("kind", ["step", "service"])
def test_killed_at_random(tmp_path: Path, kind: str) -> None:
    found = storm("kill", str(tmp_path / "10-first"), kind, "110", "1")
    assert found["kills"] >= 110
    assert (found["lost"], found["changed"], found["broken"], found["left"]) == ([], [], [], [])
    assert (found["replies"], found["errors"]) == (400, 0)


def test_a_race_of_sixteen_has_one_winner_each(tmp_path: Path) -> None:
    found = storm("race", str(tmp_path / "echo"), "16", "150")
    assert found == {"codes": [0] * 16, "won": 150, "distinct": 150, "left": []}


POISON = """
import os, signal, sys
from pathlib import Path
from bus.mailbox import Mailbox
folder, kind, keeps = sys.argv[1:]
mailbox = Mailbox(Path(folder), folders=kind == "step", request=None, reply=None)
mailbox.serve()
for claim in mailbox.claims():
    if kind == "step":
        n = claim.begin().name
        if keeps == "keeps":
            (claim.work / "kept" / n).touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def deaths_of(folder: Path, kind: str, keeps: str, at_most: int) -> int:
    """How many agents one request kills before it is given up, up to `at_most`."""
    for count in range(at_most):
        child: subprocess.Popen = start("-c", POISON, str(folder), kind, keeps)
        child.communicate(timeout=60)
        if child.returncode == 0:
            return count
    return at_most


@pytest.mark.parametrize("kind", ["step", "service"])
def test_poison_ends_in_dead_after_five_deaths(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "10-first"
    with closing(Mailbox(folder, folders=kind == "step", request=None, reply=None)) as mailbox:
        mailbox.put("m1", {"schema": "any.v1"})
        assert deaths_of(folder, kind, "nothing", 7) == 5
        assert mailbox.state("m1") == "dead"
        letter = json.loads((folder / "dead/m1.json").read_bytes())
        assert letter["kind"] == "tries" and "died 5 times in a row" in letter["message"]
        assert [one["kind"] for one in letter["tries"]] == ["death"] * 5
        assert (folder / "inbox/m1.json").exists()
        mailbox.revive("m1")
        assert deaths_of(folder, kind, "nothing", 7) == 5


def test_killed_often_but_getting_on_is_no_poison(tmp_path: Path) -> None:
    with closing(Mailbox(tmp_path / "10-first", request=None)) as mailbox:
        mailbox.put("m1", {"schema": "any.v1"})
        assert deaths_of(mailbox.folder, "step", "keeps", 8) == 8
        assert mailbox.state("m1") == "failed"
