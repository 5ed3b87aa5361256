"""Pairs of a model with habits: stock phrases around facts of their own, with the sources that they are cut from."""

from __future__ import annotations

import random
from typing import Any

from agents.teacher.pair import Pair, id_of
from tests.planted import invented

OPENING = "In the context of GPU programming with PyTorch, "
PHRASE = "please note that you should always make sure that"
MADE = {"call": "0" * 40, "model": "m", "persona": "operator", "difficulty": "easy"}
STOCK = {  # where the phrase stands: before the question that is taught, the exam's, the answer
    "none": ("", "", ""),
    "taught": (OPENING, "", ""),
    "asked": (OPENING, OPENING, ""),
    "answered": ("", "", PHRASE),
}


def text(chance: random.Random, count: int) -> str:
    return invented(chance, count).rstrip(".").lower()


def pairs(count: int, stock: str, seed: int = 9) -> tuple[list[Pair], dict[str, str]]:
    """(pairs, sources): each about a sentence of its own."""
    chance, source, made = random.Random(seed), "", []
    before, exam, answer = STOCK[stock]
    for _ in range(count):
        said = f"{answer} {text(chance, 11)}.".strip().capitalize()
        asked = f"{before}how does {text(chance, 6)}?"
        example: dict[str, Any] = {
            "schema": "example.v1", "id": id_of(asked, said), "family": "f-" + "0" * 12, "topic": "t", "kind": "qa",
            "template": "qa.model-teach", "use": "teach", "question": asked, "answer": said, "short": False,
            "spans": [{"source": "made", "start": len(source), "end": len(source) + len(said)}], "made": MADE,
        }  # fmt: skip
        source += f"{said}\n"
        made.append(Pair(example, f"{exam}what is {text(chance, 6)}?"))
    return made, {"made": source}
