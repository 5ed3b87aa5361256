"""The main job with models, whole: replayed from its call files, capped by its budget, killed again and again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests import modelled, tiny
from tests.scripted.fixture import Scripted

LAST = "40-filter"  # the last step whose artifacts are made of the answers alone


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small goal, run to its end with a scripted researcher, teacher and judge."""
    folder = tmp_path_factory.mktemp("asked")
    with Scripted(folder / "server", modelled.ANSWERS) as server:
        ended = tiny.run(tiny.write_goal(folder), folder / "runs", modelled.write_config(folder, server.url))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def replay(folder: Path, original: Path, until: str = "80-improve", url: str | None = None):
    """bin/pipeline --replay in a folder, by default on a machine that knows of no model."""
    config = modelled.write_config(folder, url, until)
    return tiny.run(tiny.write_goal(folder), folder / "runs", config, "--replay", str(original))


def test_every_role_is_asked_and_the_run_is_whole(asked: Path) -> None:
    run = asked / "runs" / "tiny"
    tiny.command_of("check", run)
    assert {one["call"]["role"] for one in modelled.replies(run).values()} == {"researcher", "teacher", "judge"}
    steps = {one["call"]["step"] for one in modelled.replies(run).values()}
    assert steps >= {"10-research", "20-collect", "30-generate", "60-evaluate"}


def test_it_is_replayed_byte_for_byte_with_no_model(asked: Path, tmp_path: Path) -> None:
    original, again = asked / "runs" / "tiny", tmp_path / "runs" / "tiny"
    ended = replay(tmp_path, original)
    assert ended.returncode == 0 and "nothing is sent" in ended.stdout, ended.stdout + ended.stderr
    assert modelled.made(again) == modelled.made(original) and len(modelled.made(again)) > 15
    assert modelled.replies(again) == modelled.replies(original)
    assert not (again / "llm" / "ledger.jsonl").exists()  # there was no model to start an llm agent for
    tiny.command_of("check", again)


def test_a_call_that_is_missing_is_named(asked: Path, tmp_path: Path) -> None:
    original = shutil.copytree(asked / "runs" / "tiny", tmp_path / "original")
    path = next(path for path in (original / "llm/outbox").iterdir() if b'"role":"teacher"' in path.read_bytes())
    path.unlink()
    ended = replay(tmp_path, original, LAST)
    assert ended.returncode == 100 and f"{path.name}: is not among the replayed calls" in ended.stderr, ended.stderr


def test_a_run_whose_budget_ended_is_replayed_as_it_wound_down(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with Scripted(first / "server", modelled.ANSWERS) as server:
        config = modelled.write_config(first, server.url, LAST, usd=0.02)
        ended = tiny.run(tiny.write_goal(first), first / "runs", config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    original, again = first / "runs" / "tiny", second / "runs" / "tiny"
    assert "usd" in json.loads(tiny.artifacts(original, "30-generate")["generated.json"])["stopped"]
    letters = {path.name for path in (original / "llm" / "dead").iterdir()}
    assert letters
    ended = replay(second, original, LAST, server.url)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert modelled.made(again) == modelled.made(original)
    assert {path.name for path in (again / "llm" / "dead").iterdir()} == letters
    tiny.command_of("check", again)
    calls = len(letters) + len(modelled.replies(original))
    for pair, who in (((original, again), "second replays the first"), ((again, original), "first replays the second")):
        first, *notes, last = tiny.command_of("check", *pair).splitlines()
        assert first == f"here {pair[0]}, there {pair[1]}: the {who}, from its {calls:,} calls"
        assert last.endswith(", 0 of them differently") and all(line.startswith("note: ") for line in notes)
    paid = next(path for path in (original / "llm/outbox").iterdir() if b'"role":"teacher"' in path.read_bytes())
    paid.unlink()
    (tmp_path / "third").mkdir()
    ended = replay(tmp_path / "third", original, LAST)
    assert ended.returncode == 100 and f"{paid.name}: is not among the replayed calls" in ended.stderr, ended.stderr


def test_a_run_whose_roles_were_given_other_models_on_the_way_is_replayed(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    original, again = first / "runs" / "tiny", second / "runs" / "tiny"
    with Scripted(first / "server", modelled.ANSWERS) as server:
        goal, config = tiny.write_goal(first), modelled.write_config(first, server.url, "20-collect")
        shell = tiny.start(goal, first / "runs", config)
        tiny.wait_for(original / "10-research" / "outbox" / "r1")
        os.killpg(shell.pid, signal.SIGINT)
        shell.communicate(timeout=60)
        modelled.write_config(first, server.url, "20-collect", researcher="two")
        shutil.rmtree(original / "20-collect" / "outbox", ignore_errors=True)  # if it was that fast
        ended = tiny.run(goal, first / "runs", config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    asked = {(one["call"]["step"], one["call"]["model"]) for one in modelled.replies(original).values()}
    assert {("10-research", "one"), ("20-collect", "two")} <= asked
    ended = replay(second, original, "20-collect")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert modelled.made(again) == modelled.made(original)
