"""The step 40-filter with a source that a model wrote: it is taught, and no item of exam or validation rests on it."""

from pathlib import Path

from agents._codes import DONE
from bus import files
from tests.planted import world
from tests.test_filter_step import SMALL, describe, do, made, make_run, reply, rows

EXAMPLES, SOURCES = world(500)


def test_no_item_rests_on_a_generated_source(tmp_path: Path) -> None:
    whole = min(SOURCES)
    about = {"profile": "one", "model": "m", "wanted": 50, "kept": 40}
    described = [describe(name, text) for name, text in sorted(SOURCES.items())]
    described = [row | ({"kind": "generated", "generated": about} if row["id"] == whole else {}) for row in described]
    texts = {f"sources/{name}.md": text.encode() for name, text in SOURCES.items()}
    run = make_run(tmp_path / "run", SMALL)
    reply(run, "20-collect", "", {**texts, "sources.jsonl": b"".join(map(files.canonical, described))})
    reply(run, "30-generate", "examples/qa.jsonl", b"".join(map(files.canonical, EXAMPLES)))
    assert do(run) == DONE
    resting = {one["id"] for one in EXAMPLES if any(span["source"] == whole for span in one["spans"])}
    written = made(run)
    items = [*rows(written["exam.jsonl"]), *rows(written["validation.jsonl"])]
    assert resting and not resting & {one["id"] for one in items}
    assert resting & {one["id"] for one in rows(written["train.jsonl"])}
    dropped = {one["id"]: one["reason"] for one in rows(written["dropped.jsonl"])}
    assert {one["id"] for one in EXAMPLES if one["id"] in resting and one["use"] == "exam"} == {
        name for name, reason in dropped.items() if reason == "generated"
    }
    assert "rests on what a model wrote" in written["card.md"].decode()
