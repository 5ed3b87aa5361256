"""Follow an item of a data set back: verdict, example, judge, wording or call, source. Reads only."""

from __future__ import annotations

import _start

import difflib
import re
from collections.abc import Iterator
from typing import Any

from agents.exam.card import REASONS
from agents.models import call as calls
from agents.teacher.prompts import PROMPTS
from agents.teacher.templates import WORDINGS, templates
from bus import files, schema
from bus.run import Run

AROUND = 120  # characters of the source shown on each side of a span
PLACES = ("train.jsonl", "validation.jsonl", "exam.jsonl", "dropped.jsonl", "left_out.jsonl")
NAME, PROMPTS_NAME = f"agents/teacher/{WORDINGS.name}", f"agents/teacher/{PROMPTS.name}"
ID = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")


class NotThere(Exception):
    """No such item: one line, with what is near."""


def chain(run: Run, item: str) -> dict[str, Any]:
    """Everything that the run knows of an item; raises NotThere, files.BadFile, schema.Invalid."""
    if not ID.fullmatch(item):
        raise NotThere(f"{item[:60]!r} is no id; ids look like e-16babf84d58a, see dropped.jsonl or train.jsonl")
    verdicts: dict[str, list[str]] = {}  # what is said of it: in which files
    example, item_row, left, judged = None, None, None, None
    known: set[str] = set()
    made_in = 0  # the round that made it: later ones take it along
    for step, round, name, row in rows(run):
        known.add(row["id"])
        if row["id"] != item:
            continue
        if row["schema"] == "judged.v1":
            judged = row
        elif row["schema"] == "example.v1":
            example, made_in = row, made_in or round
        else:
            verdicts.setdefault(f"round {round}: {verdict(row)}", []).append(f"{step}/outbox/r{round}/{name}")
            item_row = row if row["schema"] == "item.v1" else item_row
            left = row if row["schema"] == "left-out.v1" else left
    if not (verdicts or example):
        near = difflib.get_close_matches(item, known, 1, 0.5)
        raise NotThere(f"{run.name}: has no item {item}; " + (f"did you mean {near[0]}?" if near else "is it the run?"))
    return {
        "id": item,
        "run": run.name,
        "verdicts": [f"{said} ({', '.join(where)})" for said, where in verdicts.items()] or ["made, not filtered yet"],
        "example": example,
        "text": item_row["answer"] if item_row and not example else None,
        "question": left["question"] if left and not example else None,
        "made_by": made_by(example, left),
        "call": called(run, made["call"]) if (made := example.get("made") if example else left) else None,
        "judged": judged,
        "judge_call": called(run, judged["call"]) if judged else None,
        "spans": list(spans(run, example, made_in)) if example else [],
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


SLICES = {
    "taught": "a taught fact, in words that no training row has",
    "unseen": "a fact that no training row has",
    "general": "text of which the loss is measured, to see what is forgotten",
}


def verdict(row: dict[str, Any]) -> str:
    """What one file says of an item, in a line."""
    if row["schema"] == "dropped.v1":
        return f"dropped, {row['reason']} ({REASONS.get(row['reason'], 'for that reason')}): {row['detail']}"
    if row["schema"] == "left-out.v1":
        detail = f": {row['detail']}" if row["detail"] else ""
        return f"a pair of llm/outbox/{row['call']}.json was left out, {row['reason']}{detail}"
    if row["schema"] == "item.v1":
        if row["slice"] in SLICES:
            return f"a question of the exam, slice {row['slice']}: {SLICES[row['slice']]}"
        return f"a question of {row['slice']}: its score steers what the next round strengthens"
    return "kept as a training row"


def made_by(example: dict[str, Any] | None, left: dict[str, Any] | None) -> str:
    """Which wording or which prompt made an example, or a pair that was left out."""
    if not example:
        prompt = f"the model that answered the call below, asked by a prompt of {PROMPTS_NAME}"
        return prompt if left else "cut by rules from a document that the base has never seen"
    if made := example.get("made"):
        wish = f"kind {example['kind']}, persona {made['persona']}, difficulty {made['difficulty']}"
        return f"the model {made['model']}, from the source below and a prompt of {PROMPTS_NAME} ({wish})"
    for one in templates():
        if one.id == example["template"]:
            how = "rules, no model: the answer is cut from the source below"
            return f"{how}, its question is {one.id} of {NAME}: {one.text}"
    return f"rules, no model: the question is {example['template']}, which {NAME} no longer has"


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


def spans(run: Run, example: dict[str, Any], made_in: int) -> Iterator[dict[str, Any]]:
    """Each span of an example with the words around it, as its source was in the round that made it, or just before."""
    found, _ = run.listings()
    for span in example["spans"]:
        for step, round in sorted(found, key=lambda key: (key[1] > made_in, -key[1])):
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
