"""The main job with models, whole: replayed from its call files, capped by its budget, killed again and again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from _mcp_runs import Runs  # of bin/
from _tell import Trouble
from agents import _recall
from agents.memory import remember
from tests import modelled, tiny
from tests.scripted.fixture import Scripted

LAST = "40-filter"  # the last step whose artifacts are made of the answers alone
HOSTILE = [sys.executable, str(tiny.ROOT / "tests" / "hostile_server.py")]
ASK = {"calls": [{"tool": "web.page", "arguments": {}}], "done": None}
LOOKING = [  # what a researcher with tools says: the same page again and again, then whatever its schema wants
    {"when": {"words": "No more calls are possible"}, "call": "json for schema"},
    {"when": {"words": "You may look things up"}, "call": None, "text": json.dumps(ASK)},
]


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


def allow(config: Path, command: list[str]) -> Path:
    """Let research and collect use a server that gives one page."""
    for name in ("infra", "swarm"):
        document = yaml.safe_load((config / f"{name}.yaml").read_text())
        if name == "infra":
            page = "Rank three waits for rank one in the barrier. " * 20
            document["mcp"] = {"web": {"command": command, "env": {"PAGE": page}, "writes": False}}
        for step in ("10-research", "20-collect") if name == "swarm" else ():
            document["flow"][step]["tools"] = ["web.page"]
        (config / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return config


def switched(folder: Path, script: dict[str, Any]) -> Path:
    """A run to the end of collect with tools and a memory, whose researcher is another model from then on."""
    told = {"topic": "threads", "score": 0.2, "n": 9}
    remember(folder / "runs/memory", _recall.observation("result", "other", 1, ["threads"], "threads 0.2 of 9", told))
    run, goal = folder / "runs" / "tiny", tiny.write_goal(folder)
    with Scripted(folder / "server", script) as server:
        config = allow(modelled.write_config(folder, server.url, "20-collect", researcher="two"), HOSTILE)
        shell = tiny.start(goal, folder / "runs", config)
        tiny.wait_for(run / "10-research" / "outbox" / "r1")
        os.killpg(shell.pid, signal.SIGINT)
        shell.communicate(timeout=60)
        allow(modelled.write_config(folder, server.url, "20-collect", researcher="one"), HOSTILE)
        shutil.rmtree(run / "20-collect" / "outbox", ignore_errors=True)  # if it was that fast
        ended = tiny.run(goal, folder / "runs", config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return run


def test_a_run_with_other_models_on_the_way_a_memory_and_tools_is_replayed_without_them(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    script = {**modelled.ANSWERS, "rules": [*LOOKING, *modelled.ANSWERS["rules"]]}
    original = switched(folders[0], script)
    asked = {(one["call"]["step"], one["call"]["model"]) for one in modelled.replies(original).values()}
    assert {("10-research", "two"), ("20-collect", "one")} <= asked
    made = modelled.made(original)
    told = json.loads(made["10-research/topics.json"])["asked"]
    assert (told["profile"], told["model"]) == ("two", "two"), "who answered, not who spoke for the role later"
    assert {"10-research/tools.json", "20-collect/tools/0001-web.page.json"} <= made.keys()
    assert [name for name in made if name.startswith("20-collect/sources/found-")]
    assert json.loads(tiny.artifacts(original, "00-orient")["recalled.json"])["observations"]
    for folder in folders[1:]:  # its server does not start; none is allowed at all
        config = modelled.write_config(folder, None, "20-collect")
        if folder is folders[1]:
            allow(config, ["false"])
        again = folder / "runs" / "tiny"
        ended = tiny.run(tiny.write_goal(folder), folder / "runs", config, "--replay", str(original))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert modelled.made(again) == made
        assert (
            tiny.artifacts(again, "00-orient")["recalled.json"]
            == tiny.artifacts(original, "00-orient")["recalled.json"]
        )
        tiny.command_of("check", again)
    page = next((again / "llm/original/20-collect/r1/tools").iterdir())
    page.unlink()
    shutil.rmtree(again / "20-collect/outbox/r1")
    ended = tiny.run(tiny.write_goal(folder), folder / "runs", config)
    assert ended.returncode == 100 and "is not among the replayed calls of tools" in ended.stderr, ended.stderr


def texts(runs: Runs, path: str) -> str:
    """All that a client of bin/mcp can read of the run tiny in a folder and below it."""
    found, at = "", 0
    while at is not None:
        try:
            got = runs.read_artifact("tiny", path, at)
        except Trouble as trouble:
            assert "sealed" in trouble.message or "is no text" in trouble.message, trouble.message
            return found
        if "names" in got:
            return "".join(texts(runs, f"{path}/{name}") for name in got["names"])
        found, at = found + got["text"], got["next"]
    return found


def test_a_client_of_the_runs_reads_no_question_of_the_exam(asked: Path) -> None:
    runs, run = Runs(asked / "runs"), asked / "runs" / "tiny"
    steps = [path.name for path in run.iterdir() if path.name[:1].isdigit()]
    read = "".join(texts(runs, f"{step}/outbox/r1") for step in steps)
    assert len(read) > 100_000
    for name in ("exam", "validation"):
        rows = [json.loads(line) for line in tiny.artifacts(run, "40-filter")[f"{name}.jsonl"].splitlines()]
        questions = [row["question"] for row in rows if row["slice"] != "general"]
        assert questions and not [one for one in questions if one in read]
