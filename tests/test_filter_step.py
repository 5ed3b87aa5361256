"""The step 40-filter on a real run: what it writes, the same again, the sealed second round, and when it gives up."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents import _config
from agents._agent import Agent
from agents._codes import DONE, GAVE_UP
from agents._run import create_run
from agents.filter import filter_examples
from bus import files
from bus.run import Run
from tests.planted import changed, world

GOAL = """---
name: planted
base: embedded
sources: [pydoc:errno]
---
## Topics
- **Planted**: invented words
"""
EXAMPLES, SOURCES = world(500)
SMALL = {"taught": 10, "unseen": 3, "general": 20}


def make_run(folder: Path, minimum: dict[str, Any] | None = None, embeddings: str | None = None) -> Run:
    """A run of which only collect, generate and filter are steps."""
    flow = {name: dict(_config.load().flow[name]) for name in ("20-collect", "30-generate", "40-filter")}
    flow["20-collect"]["reads"] = flow["30-generate"]["reads"] = ["goal.md"]
    if minimum is not None:
        flow["40-filter"]["settings"] = {"minimum": minimum} | ({"embeddings": embeddings} if embeddings else {})
    return create_run(folder, GOAL, 7, flow, {}, "2")


def reply(run: Run, step: str, name: str, data: bytes | dict[str, bytes]) -> None:
    """Answer a step by hand, with one artifact or several."""
    run.advance()
    claim = next(iter(run.mailbox(step).claims()))
    out = claim.begin() / "out"
    for inner, part in (data if isinstance(data, dict) else {name: data}).items():
        (out / inner).parent.mkdir(exist_ok=True)
        (out / inner).write_bytes(part)
    claim.commit_folder({"read": {}, "seconds": 0.0, "cpu_s": 0.0, "usd": 0.0, "gpu_s": 0.0})


def feed(run: Run, examples: list[dict], sources: dict[str, str] = SOURCES) -> None:
    """Reply for collect and generate."""
    described = [describe(name, text) for name, text in sorted(sources.items())]
    texts = {f"sources/{name}.md": text.encode() for name, text in sources.items()}
    reply(run, "20-collect", "", {**texts, "sources.jsonl": b"".join(map(files.canonical, described))})
    reply(run, "30-generate", "examples/qa.jsonl", b"".join(map(files.canonical, examples)))


def describe(name: str, text: str) -> dict[str, Any]:
    named = {"schema": "source.v1", "id": name, "file": f"sources/{name}.md", "origin": f"file:{name}", "title": name}
    known = {"licence": "CC0-1.0" if name == "doc-0" else None, "kind": "file", "version": None}
    data = text.encode()
    return {**named, **known, "sha256": files.sha256(data), "bytes": len(data), "topics": []}


def do(run: Run) -> int:
    run.advance()
    return Agent(filter_examples, run, "40-filter", _config.load(), loud=False).once()


def made(run: Run, round: int = 1) -> dict[str, bytes]:
    """The reply's artifacts."""
    folder = run.folder / "40-filter" / "outbox" / f"r{round}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "reply.json"}


def rows(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def why_dead(run: Run) -> str:
    return files.read_json(run.folder / "40-filter" / "dead" / "r1.json")["message"]


def test_two_runs_write_the_same_bytes_and_the_card_shows_no_exam(tmp_path):
    made_twice = []
    for name in ("first", "second"):
        run = make_run(tmp_path / name)
        feed(run, EXAMPLES if name == "first" else EXAMPLES[::-1])
        assert do(run) == DONE
        made_twice.append(made(run))
    first = made_twice[0]
    assert first == made_twice[1]
    assert set(first) == {"train.jsonl", "validation.jsonl", "exam.jsonl", "dropped.jsonl", "dataset.json", "card.md"}
    dataset, card = json.loads(first["dataset.json"]), first["card.md"].decode()
    assert dataset["exam_sha256"] == files.sha256(first["exam.jsonl"])
    assert dataset["counts"]["train"] == len(rows(first["train.jsonl"]))
    assert sum(dataset["reasons"].values()) == dataset["counts"]["dropped"] == len(rows(first["dropped.jsonl"]))
    assert "CC0-1.0" in card
    assert "not known" in card
    assert not any(one["answer"] in card for one in rows(first["exam.jsonl"]) if one["slice"] != "taught")
    assert not any(one["question"] in card for one in rows(first["exam.jsonl"]) if one["question"])


def test_the_second_round_keeps_the_exam_byte_for_byte(tmp_path):
    run = make_run(tmp_path / "run", SMALL)
    feed(run, EXAMPLES[:600])
    assert do(run) == DONE
    leak = next(one for one in rows(made(run)["exam.jsonl"]) if one["slice"] == "unseen")
    trained = {one["id"] for one in rows(made(run)["train.jsonl"])}
    open_ = next(e for e in EXAMPLES if e["id"] in trained)
    planted = changed(
        open_, answer=leak["answer"], short=leak["short"], question="What is planted in `the second round` here?"
    )
    source = next(e for e in EXAMPLES if e["family"] == leak["family"])
    planted["spans"] = source["spans"]
    feed(run, [*EXAMPLES, planted])
    assert do(run) == DONE
    first, second = made(run, 1), made(run, 2)
    assert second["exam.jsonl"] == first["exam.jsonl"]
    assert second["validation.jsonl"] == first["validation.jsonl"]
    assert json.loads(second["dataset.json"])["exam_sha256"] == json.loads(first["dataset.json"])["exam_sha256"]
    assert len(rows(second["train.jsonl"])) > len(rows(first["train.jsonl"]))
    dropped = {one["id"]: one["reason"] for one in rows(second["dropped.jsonl"])}
    assert dropped[planted["id"]] in ("shared-span", "shared-answer")


@pytest.mark.parametrize(
    ("minimum", "says"),
    [
        (None, "unseen questions, and the exam needs 60"),
        ({"taught": 10, "unseen": 3, "general": 1000}, "general questions, and the exam needs 1000"),
        ({"unseen": -1}, "minimum: unseen: -1 is not understood"),
        ({"general": True}, "minimum: general: True is not understood"),
    ],
)
def test_too_small_an_exam_gives_up_in_one_line_with_nothing_committed(tmp_path, minimum, says):
    run = make_run(tmp_path / "run", minimum)
    feed(run, [e for e in EXAMPLES if e["use"] == "teach" or e["id"] < "e-4"] if minimum is None else EXAMPLES[:600])
    assert do(run) == GAVE_UP
    assert says in why_dead(run)
    assert "\n" not in why_dead(run)
    assert not (run.folder / "40-filter" / "outbox" / "r1").exists()


def test_nothing_to_train_on_gives_up(tmp_path):
    run = make_run(tmp_path / "run", {"taught": 0, "unseen": 0, "general": 0})
    feed(run, [changed(e, answer="I cannot say.") for e in EXAMPLES[:50]])
    assert do(run) == GAVE_UP
    assert "no rows are left" in why_dead(run)
