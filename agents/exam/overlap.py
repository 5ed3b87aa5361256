"""Read the written training and exam files again and look for anything that stands in both.

This is the check on `agents/exam/rules.py`, so it shares no code with it: it folds texts its own way, looks for them
its own way, and believes only the files. What it calls an overlap is the same: DESIGN 10, rules 2 to 4.
"""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]

RUN = 8  # words in a row
NEAR_PERCENT = 80  # shared letter trigrams of all
NEAR_LETTERS = 12  # below this only equal answers are compared: a letter more or less makes another name
SKETCH = 256  # bits: as many as an answer has trigrams, so that different ones differ in most
RULES = ("id", "family", "span", "answer", "near-answer", "8-gram", "question", "wording", "general", "text")


class Overlap(NamedTuple):
    rule: str
    row: str
    item: str
    text: str


def scan(folder: Path, examples: Iterable[Row]) -> list[Overlap]:
    """Every overlap between train.jsonl and validation.jsonl or exam.jsonl in a folder; [] is a good split.

    `examples` say which spans, template and use each id had when it was generated.
    """
    rows = [flat(row) for row in load(folder / "train.jsonl")]
    items = load(folder / "validation.jsonl") + load(folder / "exam.jsonl")
    known = {example["id"]: example for example in examples}
    held = [item for item in items if item["slice"] in ("validation", "unseen")]
    found = [*same_names(rows, items, held), *unlike(rows, known), *wordings(rows, items, known)]
    found += shared_spans(rows, {item["family"] for item in held}, known)
    found += contained(rows, held)
    found += near_answers(rows, held)
    found += shared_runs(rows, items)
    return sorted(set(found))


def counts(found: Iterable[Overlap]) -> dict[str, int]:
    """How many overlaps in all, and of each rule."""
    listed = list(found)
    return {"overlaps": len(listed), **{rule: sum(one.rule == rule for one in listed) for rule in RULES}}


def load(path: Path) -> list[Row]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def flat(row: Row) -> Row:
    """A row.v1 with its question and answer as plain keys."""
    said = {message["role"]: message["content"] for message in row["messages"]}
    return {"id": row["id"], "family": row["family"], "question": said["user"], "answer": said["assistant"]}


@cache
def line(text: str) -> str:
    """Lower-case words, one blank before, between and after them: " a b "; a single blank for no words at all."""
    spaced = (c if c.isalnum() or c == "_" else " " for c in unicodedata.normalize("NFKC", text).casefold())
    return " ".join(["", *"".join(spaced).split(), ""])


def runs(text: str) -> set[str]:
    """Every eight words in a row, as one string."""
    parts = line(text).split()
    return {" ".join(parts[i : i + RUN]) for i in range(len(parts) - RUN + 1)}


def same_names(rows: list[Row], items: list[Row], held: list[Row]) -> Iterator[Overlap]:
    """Rows that are items, and rows of held-out families."""
    ids, families = {item["id"] for item in items}, {item["family"]: item["id"] for item in held}
    for row in rows:
        if row["id"] in ids:
            yield Overlap("id", row["id"], row["id"], row["question"])
        if row["family"] in families:
            yield Overlap("family", row["id"], families[row["family"]], row["family"])


def unlike(rows: list[Row], known: dict[str, Row]) -> Iterator[Overlap]:
    """Rows that do not say what the generated example of their id says: nothing vouches for those."""
    for row in rows:
        example = known.get(row["id"], {"question": "", "answer": "", "family": ""})
        if any(line(row[key]) != line(example[key]) for key in ("question", "answer", "family")):
            yield Overlap("text", row["id"], "", row["question"])


def wordings(rows: list[Row], items: list[Row], known: dict[str, Row]) -> Iterator[Overlap]:
    """Rows in an exam's wording, by the templates of both."""
    asked = {known[item["id"]]["template"]: item["id"] for item in items if item["id"] in known}
    for row in rows:
        example = known.get(row["id"])
        if example and (example["use"] != "teach" or example["template"] in asked):
            yield Overlap("wording", row["id"], asked.get(example["template"], ""), example["template"])


def shared_spans(rows: list[Row], families: set[str], known: dict[str, Row]) -> Iterator[Overlap]:
    """Rows cut from where a held-out family is also cut from, found by one sweep over each source."""
    events: list[tuple[str, int, int, bool, str]] = []
    trained = {row["id"] for row in rows}
    for example in known.values():
        for span in example["spans"] if example["id"] in trained or example["family"] in families else ():
            events.append((span["source"], span["start"], span["end"], example["family"] in families, example["id"]))
    open_spans: list[tuple[str, int, int, bool, str]] = []
    for event in sorted(events):
        open_spans = [one for one in open_spans if one[0] == event[0] and one[2] > event[1]]
        for one in open_spans:
            if one[3] != event[3]:
                taught, held = (event, one) if one[3] else (one, event)
                yield Overlap("span", taught[4], held[4], f"{event[0]} {event[1]}")
        open_spans.append(event)


def contained(rows: list[Row], held: list[Row]) -> Iterator[Overlap]:
    """Rows whose question or answer holds a held-out answer, from one word on."""
    having: dict[str, set[int]] = defaultdict(set)
    lines = [(line(row["question"]), line(row["answer"])) for row in rows]
    for number, both in enumerate(lines):
        for word in {word for text in both for word in text.split()}:
            having[word].add(number)
    for item in held:
        wanted = line(item["answer"])
        own = sorted((having.get(word, set()) for word in set(wanted.split())), key=len)
        for number in set.intersection(*own) if own else ():
            if any(wanted in text for text in lines[number]):
                yield Overlap("answer", rows[number]["id"], item["id"], wanted.strip())


def near_answers(rows: list[Row], held: list[Row]) -> Iterator[Overlap]:
    """Rows whose answer is nearly a held-out one; trigrams are bits, so that a pair costs two integer operations.

    Two sets that share four fifths differ in at most a ninth of the members of both; their sketches differ in no more
    bits, and are looked at first, as they are short.
    """
    bit: dict[str, int] = {}
    given: dict[str, str] = {line(row["answer"]).strip(): row["id"] for row in rows}
    masks = ((trigrams(text, bit), row) for text, row in given.items())
    sized = sorted((mask.bit_count(), sketch(mask), mask, row) for mask, row in masks if mask)
    sizes = [one[0] for one in sized]
    for item in held:
        own = trigrams(line(item["answer"]).strip(), bit)
        n, short = own.bit_count(), sketch(own)
        low, high = bisect_left(sizes, n * NEAR_PERCENT // 100), bisect_right(sizes, n * 100 // NEAR_PERCENT)
        apart = (100 - NEAR_PERCENT) * (n + n * 100 // NEAR_PERCENT) // (100 + NEAR_PERCENT)
        for _, other, mask, row in sized[low:high] if own else ():
            if (short ^ other).bit_count() <= apart:
                if (own & mask).bit_count() * 100 >= NEAR_PERCENT * (own | mask).bit_count():
                    yield Overlap("near-answer", row, item["id"], item["answer"])


def sketch(mask: int) -> int:
    """A short integer whose bits are the parities of the mask's bits, every SKETCH-th together."""
    short = 0
    while mask:
        short ^= mask & ((1 << SKETCH) - 1)
        mask >>= SKETCH
    return short


def trigrams(text: str, bit: dict[str, int]) -> int:
    """The text's letter trigrams as bits, numbered as they are met; 0 for a text too short to be near another."""
    if len(text) < NEAR_LETTERS:
        return 0
    mask = 0
    for i in range(len(text) - 2):
        mask |= 1 << bit.setdefault(text[i : i + 3], len(bit))
    return mask


def shared_runs(rows: list[Row], items: list[Row]) -> Iterator[Overlap]:
    """Rows with eight words of an item; of a taught item, whose answer is meant to be shared, only questions count."""
    asking: dict[str, str] = {}
    saying: dict[str, str] = {}
    questions: dict[str, str] = {}
    for row in rows:
        questions.setdefault(line(row["question"]), row["id"])
        for run in runs(row["question"]):
            asking[run] = saying[run] = row["id"]
        for run in runs(row["answer"]):
            saying[run] = row["id"]
    for item in items:
        among = asking if item["slice"] == "taught" else saying
        wanted = runs(item["question"]) | (set() if item["slice"] == "taught" else runs(item["answer"]))
        for run in sorted(run for run in wanted if run in among):
            yield Overlap("general" if item["slice"] == "general" else "8-gram", among[run], item["id"], run)
        if item["slice"] != "general" and line(item["question"]) in questions:
            yield Overlap("question", questions[line(item["question"])], item["id"], item["question"])
