"""Asking by hand: bin/put and bin/retry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bus import files
from tests import small
from tests.small import OBSERVATION, ROOT, command


def test_put_asks_once(finished: Path) -> None:
    id = json.loads(OBSERVATION.read_bytes())["id"]
    first = command("put", finished, "memory", OBSERVATION)
    assert (first.returncode, first.stdout, first.stderr) == (0, f"{id}\n", "")
    again = command("put", finished, "memory", "-", given=OBSERVATION.read_text())
    assert (again.returncode, again.stdout) == (0, f"{id}\n") and "was asked before: it is waiting" in again.stderr
    other = json.loads(OBSERVATION.read_bytes()) | {"round": 2}
    refused = command("put", finished, "memory", "-", given=json.dumps(other))
    assert refused.returncode == 1 and refused.stdout == "" and "other content" in refused.stderr
    done = subprocess.run(
        [sys.executable, "-m", "agents.memory", str(finished), "--once"], cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == 0
    assert "its reply is there" in command("put", finished, "memory", OBSERVATION).stderr


def test_put_under_a_name_that_is_not_its_own(finished: Path) -> None:
    told = json.loads(OBSERVATION.read_bytes())
    refused = command("put", finished, "memory", OBSERVATION, "--id", "mine")  # as its claim would be
    assert refused.returncode == 2 and f"its id is '{told['id']}', not 'mine'" in refused.stderr
    assert os.listdir(finished / "memory/inbox") == []
    assert command("put", finished, "memory", OBSERVATION, "--id", told["id"]).stdout == f"{told['id']}\n"
    assert files.parse((finished / f"memory/inbox/{told['id']}.json").read_bytes(), "") == told


@pytest.mark.parametrize(("mailbox", "text", "said"), [
    ("memory", "{", "not JSON"),
    ("memory", "[]", "observation.v1"),
    ("memory", '{"schema": "observation.v1", "id": "../x"}', "not an ID"),
    ("memroy", "{}", "did you mean memory?"),
    ("10-list", '{"schema": "request.v1", "id": "r2", "step": "20-sum", "round": 2}', "make it '10-list'"),
    ("10-list", '{"schema": "request.v1", "id": "r2", "step": "10-list", "round": 3}', "make it 'r3'"),
])  # fmt: skip
def test_put_refuses_with_2_and_leaves_nothing(mailbox: str, text: str, said: str, finished: Path) -> None:
    before = small.tree(finished)
    ended = command("put", finished, mailbox, "-", given=text)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr and ended.stderr.count("\n") == 1
    assert small.tree(finished) == before


@pytest.mark.parametrize(("id", "said"), [("r1", "is done, not dead"), ("r7", "unknown"), ("../x", "not an ID")])
def test_retry_of_what_is_not_dead(id: str, said: str, finished: Path) -> None:
    before = small.tree(finished)
    ended = command("retry", finished, "10-list", id)
    assert ended.returncode == 2 and said in ended.stderr
    assert small.tree(finished) == before
