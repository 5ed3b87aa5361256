"""Research: topics find their sources by what the sources hold, the same way every time."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from agents import research
from agents._goal import Goal, parse
from agents.sources import outline
from bus import schema

ROOT = Path(__file__).resolve().parent.parent


def goal_of(name: str) -> Goal:
    return parse((ROOT / "goals" / f"{name}.md").read_text("utf-8"), name)


def outlines_of(goal: Goal) -> dict[str, research.Outline]:
    return {spec: outline.outline(spec, [ROOT]) for spec in goal.sources}


@pytest.fixture(scope="module")
def mapped() -> dict[str, dict]:
    found = {}
    for name in ("gpu-ops", "python-runtime"):
        goal = goal_of(name)
        found[name] = research.topics_document(goal, research.mapped(goal, outlines_of(goal)))
    return found


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(research).failed == 0 and doctest.testmod(outline).failed == 0


@pytest.mark.parametrize("name", ["gpu-ops", "python-runtime"])
def test_every_topic_of_the_shipped_goals_has_sources(mapped: dict[str, dict], name: str) -> None:
    document = schema.check(mapped[name], "topics.v1")
    assert all(topic["sources"] for topic in document["topics"]) and not document["unmapped"]


@pytest.mark.parametrize(
    ("name", "slug", "spec"),
    [
        ("gpu-ops", "cuda-memory", "pydoc:torch.cuda"),
        ("gpu-ops", "nvml-and-monitoring", "pydoc:pynvml"),
        ("gpu-ops", "distributed-training", "pydoc:torch.distributed"),
        ("gpu-ops", "communication-failures", "pydoc:torch.distributed"),
        ("gpu-ops", "rocm-and-kernels", "pydoc:torch.utils.hipify.hipify_python"),
        ("gpu-ops", "containers-and-drivers", "catalogue:signal"),
        ("python-runtime", "child-processes", "pydoc:subprocess"),
        ("python-runtime", "event-loops", "pydoc:asyncio"),
        ("python-runtime", "memory", "pydoc:gc"),
        ("python-runtime", "errors-of-the-system", "catalogue:errno"),
    ],
)
def test_a_topic_finds_the_source_that_a_person_would_name(
    mapped: dict[str, dict], name: str, slug: str, spec: str
) -> None:
    topics = {topic["slug"]: topic["sources"] for topic in mapped[name]["topics"]}
    assert spec in topics[slug]


SMALL = """---
name: small
sources: [file:memory.md, file:birds.md]
---
## Topics
- **Garbage collection**: generations, cycles, thresholds
- **Sailing | boats**: keels, rudders
"""


def test_gaps_and_strays_are_named(tmp_path: Path) -> None:
    (tmp_path / "memory.md").write_text("# Memory\n\n- `gc.collect`: runs the garbage collection of old generations\n")
    (tmp_path / "birds.md").write_text("# Birds\n\n## Owls\n\nThey hunt at night. Much more.\n")
    goal = parse(SMALL)
    outlines = {spec: outline.outline(spec, [tmp_path], tmp_path) for spec in goal.sources}
    assert outlines["file:birds.md"] == [("Birds", ""), ("Owls", "They hunt at night.")]
    document = research.topics_document(goal, research.mapped(goal, outlines))
    assert [topic["sources"] for topic in document["topics"]] == [["file:memory.md"], []]
    assert document["unmapped"] == ["file:birds.md"]
    learned = {"topics": ["garbage-collection"], "run": "old", "round": 2, "text": "it was weak"}
    text = research.report(goal, document, outlines, [learned])
    assert "- Sailing | boats: no source speaks of it" in text and "| Sailing \\| boats | 0 | - |" in text
    assert "- file:birds.md: fits no topic" in text
    assert "- recalled from old, round 2: it was weak" in text


OUTLINES = """
import json, sys
from agents.sources import outline
names = ("torch.cuda", "torch.distributed", "accelerate", "gc", "signal")
rows = [outline.outline("pydoc:" + name, []) for name in names]
assert not {"torch", "accelerate"} & set(sys.modules)
print(json.dumps(rows))
"""
MAP = """
import json, pathlib
from agents import research
from agents.sources import outline
from agents._goal import parse
goal = parse(pathlib.Path("goals/python-runtime.md").read_text())
outlines = {spec: outline.outline(spec, []) for spec in goal.sources}
document = research.topics_document(goal, research.mapped(goal, outlines))
print(json.dumps(document), research.report(goal, document, outlines, []))
"""


def printed(code: str, seed: str) -> bytes:
    """What Python prints under a hash seed of its own: sets come out in another order."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout


def test_outlines_import_nothing() -> None:
    rows = printed(OUTLINES, "0")
    assert b"all_reduce" in rows and b"empty_cache" in rows and b"Accelerator" in rows


def test_the_map_does_not_depend_on_the_hash_seed() -> None:
    assert printed(MAP, "1") == printed(MAP, "2")
