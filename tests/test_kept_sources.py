"""What came over the network keeps its name and its bytes: in later rounds of a run, and in a replay of it."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import _replay  # of bin/
from agents import collect
from agents.sources.reader import Source, source_row
from bus.run import Run
from tests import small
from tests.asking import profile
from tests.golden import golden
from tests.processes import ROOT
from tests.scripted.fixture import Scripted
from tests.stepping import Stepping

PAGE = "url:http://page.invalid/streams"  # nobody can read it: whoever tries fails
GOAL = f"""---
name: small
rounds: 2
sources: ["{PAGE}", "file:{{0}}/memory.md"]
---
## Topics
- **Streams**: what waits for what
"""
HOSTILE = [sys.executable, str(ROOT / "tests" / "hostile_server.py")]
TOPIC = {"slug": "streams", "title": "Streams", "why": "w", "keywords": ["stream"], "sources": [PAGE]}
TOPICS = {"schema": "topics.v1", "goal": "small", "topics": [TOPIC], "unmapped": []}
ASK = {"calls": [{"tool": "web.page", "arguments": {}}], "done": None}
RULES = [
    {"when": {"words": '<source id="web.page 1">'}, "call": None, "text": '{"calls": [], "done": "It was found."}'},
    {"when": {"words": "only what a tool returns is kept"}, "call": None, "text": json.dumps(ASK)},
]
FIRST, SECOND = "A stream waits for its events. " * 30, "An event waits for its stream. " * 30
WHEN = "2020-02-02T02:02:02+00:00"


def started(folder: Path, url: str | None, page: str = "") -> Stepping:
    """A run whose goal names a page that cannot be read any more; with a page, a tool gives it."""
    folder.mkdir(exist_ok=True)
    (folder / "memory.md").write_text("# Memory\n\n- `alloc`: gives memory.\n")
    there = Stepping(folder, GOAL.format(folder), {"one": profile(url)}, "researcher")
    if page:
        there.allow("20-collect", {"web": {"command": HOSTILE, "env": {"PAGE": page}, "writes": False}})
    return there


def mapped(there: Stepping, round: int) -> None:
    there.reply("00-orient", {"state.json": golden("state.v1")}, round)
    there.reply("10-research", {"topics.json": TOPICS, "report.md": "x"}, round)


def replied(there: Stepping) -> dict[str, Any]:
    """The first round's sources, as `collect` would reply them: the page, and a document that a tool gave."""
    page = Source(PAGE, "Streams", "documentation", None, None, "# Streams\n\nThey run side by side.\n")
    found = Source("tool:web.page {}", "A stream", "file", None, None, f"# A stream\n\n{FIRST}\n")
    rows = [source_row("url-page-1", page, ["streams"]), source_row("found-1", found, ["streams"])]
    times = {"schema": "retrieved.v1", "sources": [{"id": "url-page-1", "origin": PAGE, "retrieved": WHEN}]}
    texts = {"sources/url-page-1.md": page.text, "sources/found-1.md": found.text}
    there.reply("20-collect", {"sources.jsonl": rows, "retrieved.json": times, **texts})
    return {row["id"]: texts[row["file"]] for row in rows}


def sources(there: Stepping, round: int) -> dict[str, str]:
    """{id: text} of a round's sources, each with the bytes that its row says."""
    found = {}
    for row in there.out("20-collect", "sources.jsonl", round):
        found[row["id"]] = there.out("20-collect", row["file"], round)
        assert row["sha256"] == hashlib.sha256(found[row["id"]].encode()).hexdigest()
    return found


def test_a_page_is_named_by_what_it_says_and_a_document_of_this_machine_by_its_spec() -> None:
    page, file = (Source(spec, "t", "file", None, None, "text") for spec in (PAGE, "file:memory.md"))
    sha = hashlib.sha256(b"text").hexdigest()[:16]
    names = {PAGE: f"url-http-page-invalid-streams-{sha}", "file:memory.md": "file-memory-md"}
    assert collect.identities({PAGE: page, "file:memory.md": file}) == names


def test_a_later_round_keeps_pages_and_found_documents_and_adds_what_a_tool_says_now(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", rules=RULES, default={"call": "scenarios"}) as server:
        there = started(tmp_path / "run", server.url, SECOND)
        Run(there.folder).want_rounds(2)
        mapped(there, 1)
        before = replied(there)
        mapped(there, 2)
        with there.agent():
            there.step("collect")
    now = sources(there, 2)
    assert {id: now[id] for id in before} == before
    (new,) = (id for id in now if id.startswith("found-") and id not in before)
    assert SECOND.strip() in now[new] and new == f"found-{hashlib.sha256(now[new].encode()).hexdigest()[:16]}"
    when = {row["id"]: row["retrieved"] for row in there.out("20-collect", "retrieved.json", 2)["sources"]}
    assert when["url-page-1"] == WHEN and when.keys() < now.keys()


def test_a_replay_takes_pages_from_its_original_and_no_network(tmp_path: Path) -> None:
    original = started(tmp_path / "first", None)
    mapped(original, 1)
    page = {id: text for id, text in replied(original).items() if id.startswith("url-")}
    again = started(tmp_path / "second", None)
    for _ in range(2):  # the same again adds nothing
        _replay.replay(Run(again.folder), Run(original.folder))
    mapped(again, 1)
    again.step("collect")
    now = sources(again, 1)
    assert {id: now[id] for id in page} == page and not any(id.startswith("found-") for id in now)
    assert again.out("20-collect", "retrieved.json")["sources"][0]["retrieved"] == WHEN
    brought = sorted(path.name for path in (again.folder / "llm/original").rglob("*") if path.is_file())
    assert brought == ["retrieved.json", "sources.jsonl", "url-page-1.md"]


def test_why_shows_a_span_in_the_text_of_the_round_that_made_the_example(tmp_path: Path) -> None:
    """A file of this machine keeps its name though somebody edits it: what stands there now proves nothing."""
    there = started(tmp_path, None)
    Run(there.folder).want_rounds(2)
    spec, example = f"file:{tmp_path}/memory.md", golden("example.v1")
    example["spans"] = [{"source": "file-memory-md", "start": 10, "end": 16}]
    for round, said in ((1, "# Memory\n\nbefore it was edited\n"), (2, "# Memory\n\nnow it is another text\n")):
        mapped(there, round)
        file = Source(spec, "Memory", "file", None, None, said)
        rows = [source_row("file-memory-md", file, ["streams"])]
        there.reply("20-collect", {"sources.jsonl": rows, "sources/file-memory-md.md": said}, round)
        there.reply("30-generate", {"examples/qa.jsonl": [example]}, round)
    found = json.loads(small.command("why", there.folder, example["id"], "--json").stdout)
    assert [(one["text"], one["file"]) for one in found["spans"]] == [
        ("before", "20-collect/outbox/r1/sources/file-memory-md.md")
    ]
