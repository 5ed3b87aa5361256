"""Follow an item of a data set back: verdict, example, judge, wording or call, source. Reads only."""

from __future__ import annotations

import _start

import difflib
import re
from collections.abc import Iterator
from typing import Any

from agents.models import call as calls
from agents.teacher.prompts import PROMPTS
from agents.teacher.templates import WORDINGS, templates
from bus import files, schema
from bus.mailbox import order
from bus.run import Run

AROUND = 120  # characters of the source shown on each side of a span
PLACES = ("train.jsonl", "validation.jsonl", "exam.jsonl", "dropped.jsonl")
ID = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")


class NotThere(Exception):
    """No such item: one line, with what is near."""


def chain(run: Run, item: str) -> dict[str, Any]:
    """Everything that the run knows of an item; raises NotThere, files.BadFile, schema.Invalid."""
    if not ID.fullmatch(item):
        raise NotThere(f"{item[:60]!r} is no id; ids look like e-16babf84d58a, see dropped.jsonl or train.jsonl")
    verdicts, example, judged = [], None, None
    known: set[str] = set()
    for step, round, name, row in rows(run):
        known.add(row["id"])
        if row["id"] != item:
            continue
        if row["schema"] == "judged.v1":
            judged = row
        elif row["schema"] == "example.v1":
            example = row
        else:
            verdicts.append(f"round {round}: {verdict(row, f'{step}/outbox/r{round}/{name}')}")
    if not (verdicts or example):
        near = difflib.get_close_matches(item, known, 1, 0.5)
        raise NotThere(f"{run.name}: has no item {item}; " + (f"did you mean {near[0]}?" if near else "is it the run?"))
    return {
        "id": item,
        "run": run.name,
        "verdicts": verdicts or ["generated, and not filtered yet"],
        "example": example,
        "made_by": made_by(example) if example else "cut from a document that the base never saw",
        "call": called(run, example["made"]["call"]) if example and "made" in example else None,
        "judged": judged,
        "judge_call": called(run, judged["call"]) if judged else None,
        "spans": list(spans(run, example)) if example else [],
    }


def rows(run: Run) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
    """(step, round, artifact, row) of every artifact that has an item a line, by round."""
    found, _ = run.listings()
    for step, round in sorted(found, key=lambda key: (key[1], key[0])):
        for name in sorted(found[step, round]["artifacts"]):
            if name.endswith(".jsonl") and (name.startswith("examples/") or name in (*PLACES, "judged.jsonl")):
                path = run.folder / step / "outbox" / f"r{round}" / files.inside(name)
                for line in files.read_bytes(path, limit=1 << 40).splitlines():
                    row = files.parse(line, f"{step}/{name}")
                    yield step, round, name, schema.check(row, row["schema"])


def verdict(row: dict[str, Any], file: str) -> str:
    """What one file says of an item, in a line."""
    if row["schema"] == "dropped.v1":
        return f"dropped, {row['reason']}: {row['detail']} ({file})"
    if row["schema"] == "item.v1":
        what = {"validation": "steers the next round", "taught": "a taught fact in new words"}
        return f"asked in {row['slice']}, {what.get(row['slice'], 'held out of training')} ({file})"
    return f"kept, a row of training ({file})"


def made_by(example: dict[str, Any]) -> str:
    """Which wording or which prompt made an example."""
    if made := example.get("made"):
        wish = f"kind {example['kind']}, persona {made['persona']}, difficulty {made['difficulty']}"
        return f"the model {made['model']}, asked by {PROMPTS.parent.parent.name}/teacher/{PROMPTS.name}: {wish}"
    for one in templates():
        if one.id == example["template"]:
            return f"wording {one.id} of agents/teacher/{WORDINGS.name}, [{one.shape}] {one.use}: {one.text}"
    return f"wording {example['template']}, which agents/teacher/{WORDINGS.name} no longer has"


def called(run: Run, id: str) -> dict[str, Any] | None:
    """What a call's file says of it; None where the run has no such file any more."""
    path = run.folder / "llm" / "outbox" / f"{id}.json"
    if not path.exists():
        return None
    reply = schema.check(files.read_json(path), "called.v1")
    if calls.hash_of(reply["call"]) != id:
        raise files.BadFile(f"llm/outbox/{id}.json: answers another question")
    kept = {key: reply[key] for key in ("model", "profile", "usd", "tokens", "seconds")}
    return {"file": f"llm/outbox/{id}.json", **kept, "attempts": len(reply["attempts"])}


def spans(run: Run, example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each span of an example with the words around it, from the newest round that has its source."""
    found, _ = run.listings()
    for span in example["spans"]:
        for step, round in sorted(found, key=lambda key: order(f"r{key[1]}"), reverse=True):
            name = f"sources/{span['source']}.md"
            if name in found[step, round]["artifacts"]:
                file = f"{step}/outbox/r{round}/{name}"
                text = files.read_bytes(run.folder / file, limit=1 << 40).decode()
                yield {**span, "file": file, "origin": origin(run, step, round, span["source"]), **around(text, span)}
                break


def around(text: str, span: dict[str, Any]) -> dict[str, str]:
    start, end = span["start"], span["end"]
    return {"before": text[max(0, start - AROUND) : start], "text": text[start:end], "after": text[end : end + AROUND]}


def origin(run: Run, step: str, round: int, source: str) -> str:
    """The spec that a source was read from, with its licence where that is known."""
    path = run.folder / step / "outbox" / f"r{round}" / "sources.jsonl"
    for line in files.read_bytes(path, limit=1 << 40).splitlines():
        row = files.parse(line, "sources.jsonl")
        if row["id"] == source:
            return f"{row['origin']} ({row['licence'] or 'licence not known'})"
    return "nobody knows where"
