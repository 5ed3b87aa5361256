"""Goal files: what is read from them, and the one line that each mistake gets."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agents._goal import Goal, GoalError, parse
from agents.sources import locate
from agents.sources.locate import check_sources

ROOT = Path(__file__).resolve().parent.parent
GOALS = sorted((ROOT / "goals").glob("*.md"))
BODY = "\n# A title\n\n## Topics\n\n- **CUDA memory**: allocation,\n  caching\n- **NVML & monitoring**: counters\n"


def goal(front: str, body: str = BODY) -> Goal:
    return parse(f"---\n{front}\n---\n{body}", "goals/x.md")


def test_a_whole_goal() -> None:
    front = "name: x-1\nbase: models/y\nsources: [pydoc:gc, 'man:open(2)']\nexamples: 9\nrounds: forever\nseed: 3\n"
    found = goal(front + "budget: {usd: 1, wall_hours: 0.5}")
    assert (found.name, found.base, found.sources) == ("x-1", "models/y", ("pydoc:gc", "man:open(2)"))
    assert (found.examples, found.rounds, found.seed) == (9, "forever", 3)
    assert found.budget == {"wall_hours": 0.5, "usd": 1.0}
    assert [(topic.slug, topic.about) for topic in found.topics] == [
        ("cuda-memory", "allocation, caching"),
        ("nvml-monitoring", "counters"),
    ]
    assert found.text.startswith("---\nname: x-1")


def test_what_is_left_out() -> None:
    found = goal("name: x\nsources: [pydoc:gc]")
    assert (found.base, found.examples, found.rounds, found.budget, found.seed) == ("embedded", 1500, 1, {}, 0)


FRONTS = {
    "nam: x": "nam: is not a key of a goal; did you mean name?",
    "name: x\nsources: [pydoc:gc]\nexampels: 3": "exampels: is not a key of a goal; did you mean examples?",
    "sources: [pydoc:gc]": "name: is missing; add",
    "name: memory\nsources: [pydoc:gc]": "name: 'memory' is kept for",
    "name: ../up\nsources: [pydoc:gc]": "name: '../up' cannot name a run; use up to 100 of a-z",
    "name: 2024-01-01\nsources: [pydoc:gc]": "cannot name a run",
    "name: X\nsources: [pydoc:gc]": "name: 'X' cannot name a run",
    f"name: {'a' * 101}\nsources: [pydoc:gc]": "cannot name a run",
    "name: x": "sources: is no list",
    "name: x\nsources: pydoc:gc": "sources: is no list",
    "name: x\nsources: []": "sources: is no list",
    "name: x\nsources:\n  - file: notes.md": "has a space after the colon; write file:notes.md",
    "name: x\nsources: [pydoc:gc, pydoc:gc]": "pydoc:gc is listed twice",
    "name: x\nsources: [pydco:gc]": "did you mean pydoc?",
    "name: x\nsources: ['pydoc:']": "names nothing after the colon",
    "name: x\nsources: ['pydoc:a b']": "is no module's name",
    "name: x\nsources: ['man:-P/bin/sh']": "is no manual page's name",
    "name: x\nsources: ['catalogue:ernno']": "is no catalogue; did you mean errno?",
    "name: x\nsources: [pydoc:gc]\nrounds: 0": "rounds: 0 is neither a whole number from 1 nor forever",
    "name: x\nsources: [pydoc:gc]\nrounds: true": "rounds: True is neither",
    "name: x\nsources: [pydoc:gc]\nexamples: many": "examples: 'many' is not a whole number from 1",
    "name: x\nsources: [pydoc:gc]\nseed: -1": "seed: -1 is not a whole number",
    "name: x\nsources: [pydoc:gc]\nbudget: 3": "budget: 3 is no mapping",
    "name: x\nsources: [pydoc:gc]\nbudget: {us: 1}": "budget.us: is not a limit of a budget; did you mean usd?",
    "name: x\nsources: [pydoc:gc]\nbudget: {usd: .inf}": "budget.usd: inf is not a number from 0",
    "name: x\nsources: [pydoc:gc]\nbudget: {usd: -1}": "budget.usd: -1 is not a number from 0",
    "name: x\nsources: [pydoc:gc]\nbudget: {usd: yes}": "budget.usd: True is not a number from 0",
    "name: x\nname: y\nsources: [pydoc:gc]": "line 3: name: is given twice; keep one",
    "name: x\nbudget: {usd: 1, usd: 2}": "line 3: usd: is given twice",
    "name: &a x\nbase: *a": "uses a YAML alias",
    "name: [x": "the front matter is not YAML",
    "name: !!python/object/apply:os.system [id]": "the front matter is not YAML",
    "- a\n- b": "holds no keys",
    "name: " + "[" * 1500: "the front matter is not YAML",
}


@pytest.mark.parametrize("front", FRONTS, ids=range(len(FRONTS)))
def test_a_mistake_in_the_front_matter_is_one_line(front: str) -> None:
    with pytest.raises(GoalError) as caught:
        goal(front)
    line = str(caught.value)
    assert FRONTS[front] in line
    assert line.startswith("goals/x.md: ") and "; " in line and "\n" not in line and len(line) < 400


BODIES = {
    "no topics": "has no `## Topics` section",
    "## Topics\n\nprose": "topics: the section is empty",
    "## Topics\n- plain words": "'- plain words' has no bold title",
    "## Topics\n- **A**: x\n- **a**: y": "topics: 'A' is there twice",
    "## Topics\n" + "\n".join(f"- **T{n}**: x" for n in range(41)): "topics: 41 are too many",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_mistake_in_the_topics_is_one_line(body: str) -> None:
    with pytest.raises(GoalError, match=r"goals/x\.md: .*; .*") as caught:
        goal("name: x\nsources: [pydoc:gc]", body)
    assert BODIES[body] in str(caught.value)


def test_a_file_without_front_matter_or_of_a_megabyte_is_refused() -> None:
    with pytest.raises(GoalError, match="has no front matter"):
        parse("# only text\n")
    with pytest.raises(GoalError, match="larger than 1000000 bytes"):
        parse("---\nname: x\n---\n" + "x" * 1_000_000)


@pytest.mark.parametrize("path", GOALS, ids=lambda path: path.stem)
def test_the_shipped_goals_can_run_here(path: Path) -> None:
    found = parse(path.read_text("utf-8"), f"goals/{path.name}")
    assert found.name == path.stem and found.base == "embedded"
    assert not any(spec.startswith(("man:", "url:", "file:", "dir:")) for spec in found.sources), (
        "needs more than Python"
    )
    check_sources(found, [ROOT], ROOT)


def test_sources_are_checked_without_importing_them() -> None:
    begun = time.process_time()
    for name in ("torch.distributed.elastic.rendezvous", "transformers.models.qwen3", "os.path", "gc", "yaml"):
        assert locate.missing("pydoc", name, [], ROOT) == ""
    assert time.process_time() - begun < 1.0  # importing torch alone takes more


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("pydoc:torch.cudaa", "did you mean torch.cuda?"),
        ("pydoc:subproces", "did you mean subprocess?"),
        ("pydoc:os.path.join", "no such module"),
        ("pydoc:agents._goal", "is part of this checkout"),
        ("file:nowhere.md", "there is no such file"),
        ("file:agents", "there is no such file"),
        ("dir:README.md", "there is no such folder"),
        ("file:/etc/passwd", "outside the allowed paths"),
        ("file:../../../../../../etc/passwd", "outside the allowed paths"),
        ("man:no_such_page_at_all", "no such manual page|no `man`"),
        ("url:ftp://example.org/", "no URL that can be read"),
        ("url:https://user:pass@example.org/", "holds a name or a password"),
        ("url:http://localhost/", "private or local"),
        ("url:http://printer/", "private or local"),
        ("url:http://169.254.169.254/latest", "private or local"),
        ("url:http://[::1]:80/", "private or local"),
        ("url:http://[::ffff:10.0.0.1]/", "private or local"),
        ("url:http://[64:ff9b::7f00:1]/", "private or local"),
        ("url:http://2130706433/", "private or local"),
        ("url:http://0x7f.1/", "private or local"),
        ("url:http://100.64.0.1/", "private or local"),
        ("url:http://224.0.0.1/", "private or local"),
        ("url:http://[fe80::1%25eth0]/", "private or local"),
    ],
)
def test_a_source_that_cannot_exist_is_one_line(spec: str, says: str) -> None:
    found = goal(f"name: x\nsources: ['{spec}']")
    with pytest.raises(GoalError, match=says) as caught:
        check_sources(found, [ROOT], ROOT, "goals/x.md")
    assert str(caught.value).startswith(f"goals/x.md: sources: {spec}: ") and "; " in str(caught.value)


def test_a_link_out_of_the_allowed_paths_is_followed_before_it_is_judged(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.md").write_text("secret")
    (inside / "link.md").symlink_to(outside / "secret.md")
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "real.md").write_text("fine")
    assert "outside" in locate.missing("file", "link.md", [inside], inside)
    assert "no such file" in locate.missing("file", "loop", [inside], inside)
    assert locate.missing("file", "real.md", [inside], inside) == ""
    assert locate.missing("url", "https://docs.python.org/3/library/gc.html", [], inside) == ""
