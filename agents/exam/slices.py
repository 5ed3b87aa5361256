"""Name the slice of a family, and keep account of what becomes of every example."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agents.exam.quality import Drop

Example = dict[str, Any]
Item = dict[str, Any]

TAUGHT, VALIDATION = 80, 5  # per cent of the families; the other 15 are unseen (DESIGN 10)
EXAMINED = ("validation", "taught", "unseen", "general")


@dataclass
class Split:
    """What becomes of every example, and the exam."""

    train: list[Example] = field(default_factory=list)
    validation: list[Item] = field(default_factory=list)
    taught: list[Item] = field(default_factory=list)
    unseen: list[Item] = field(default_factory=list)
    general: list[Item] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)

    @property
    def exam(self) -> list[Item]:
        return [*self.taught, *self.unseen, *self.general]

    def order(self, seed: int) -> None:
        """Put training rows and items in a seeded order, so that no family's wordings follow each other."""
        for name in ("train", *EXAMINED):
            getattr(self, name).sort(key=lambda one: rank(seed, "row", one["id"]))


def rank(seed: int, *names: str) -> str:
    """A seeded order that no one chose, the same on every machine."""
    return hashlib.sha256(":".join([str(seed), *names]).encode()).hexdigest()


def slice_of(family: str, seed: int) -> str:
    """`taught`, `validation` or `unseen`: 80, 5 and 15 of a hundred families, by hash alone, so for ever."""
    place = int.from_bytes(hashlib.sha256(f"{seed}{family}".encode()).digest()[:8], "big") * 100 >> 64
    if place < TAUGHT:
        return "taught"
    return "validation" if place < TAUGHT + VALIDATION else "unseen"


def row(example: Example) -> dict[str, Any]:
    """An example as a training row in chat format (row.v1)."""
    turns = (("user", example["question"]), ("assistant", example["answer"]))
    messages = [{"role": role, "content": text.strip()} for role, text in turns]
    keys = ("id", "family", "topic", "kind")
    return {"schema": "row.v1", **{key: example[key] for key in keys}, "messages": messages}


def item(example: Example, name: str) -> Item:
    """An example as an exam or validation item (item.v1)."""
    keys = ("family", "topic", "kind", "question", "answer", "short")
    return {"schema": "item.v1", "id": example["id"], "slice": name, **{key: example[key] for key in keys}}


def passage(one: dict[str, Any]) -> Item:
    """A held-out passage {id, text} as an item whose answer is the whole text."""
    nothing = dict.fromkeys(("family", "topic", "kind"))
    text = {"question": "", "answer": one["text"], "short": False}
    return {"schema": "item.v1", "id": one["id"], "slice": "general", **nothing, **text}


def account(split: Split, examples: list[Example], seed: int) -> Iterator[Drop]:
    """A reason for every example that is neither in training, nor examined, nor dropped yet."""
    placed = {one["id"] for one in [*split.train, *split.exam, *split.validation]}
    placed |= {drop.example["id"] for drop in split.dropped}
    examined = {one["family"]: one["id"] for one in [*split.validation, *split.unseen]}
    askable = {example["family"] for example in examples if example["use"] == "exam"}
    for example in examples:
        family = example["family"]
        if example["id"] in placed:
            continue
        if family in examined:
            yield Drop(example, "held-out", f"its family is examined by {examined[family]}")
        elif slice_of(family, seed) == "taught":
            yield Drop(example, "spare-wording", "an exam wording of a taught family that the exam does not need")
        elif family in askable:
            yield Drop(example, "withdrawn", "its held-out family stands in too many training rows")
        else:
            yield Drop(example, "held-out", "its family is held out and has no exam wording")
