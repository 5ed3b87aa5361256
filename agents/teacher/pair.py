"""A pair that a model gave: what must hold of it, and what is kept of one that does not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.asking.material import line
from agents.exam.near import similar, words
from agents.exam.quality import control, unfit
from agents.teacher.fact import SHORT
from agents.teacher.families import Node
from agents.teacher.prompts import TEXTS, Prompt
from agents.teacher.spans import find

LONGEST_SPAN = 600  # characters; a longer one would "prove" anything that the chunk is about
LONGEST_ANSWER = 120  # words; longer ones are lists or essays, and a row of training would be cut
LONGEST_QUESTION = 600  # characters; with its answer it must fit into a row of training, and people type less
LONGEST_DETAIL = 300  # characters of what exactly was found, which may quote a word of any length

_SPEAKS_OF_ITSELF = re.compile(
    r"\b(?:the|this|given|provided) (?:text|source|passage|excerpt|part|section|documentation|context|snippet)\b"
    r"|\b(?:mentioned|described|shown|listed) above\b",
    re.IGNORECASE,
)

Example = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """One pair of a model that holds: the teach example without its family, and its exam wording."""

    example: Example
    exam_question: str

    @property
    def key(self) -> str:
        return str(self.example["id"])

    def node(self) -> Node:
        one = self.example
        spans = tuple((span["source"], span["start"], span["end"]) for span in one["spans"])
        return Node(self.key, one["answer"], f"{one['question']} | {self.exam_question}", spans)

    def left_out(self, reason: str) -> LeftOut:
        one = self.example
        return LeftOut(self.key, one["question"], one["made"]["call"], reason)


@dataclass(frozen=True)
class LeftOut:
    """One pair that a model gave and that is no example: why, and which call it was in."""

    id: str
    question: str
    call: str
    reason: str
    detail: str = ""

    def row(self) -> dict[str, Any]:
        """left-out.v1."""
        told = {"question": line(self.question, LONGEST_QUESTION), "call": self.call, "reason": self.reason}
        return {"schema": "left-out.v1", "id": self.id, **told, "detail": line(self.detail, LONGEST_DETAIL)}


def checked(
    raw: Mapping[str, str],
    prompt: Prompt,
    made: Mapping[str, str],
    texts: Mapping[str, str],
    topic_of: Callable[[str, str], str],
) -> Pair | LeftOut:
    """A pair that holds, or why it does not. `raw` are its texts; `made` says whose it is, see example.v1."""
    row = {name: raw[name].strip() for name in TEXTS}
    span = find(row["span"], prompt.chunk)
    fault, detail = misshapen(row, span), ""
    if not fault and span:
        topic = topic_of(prompt.chunk.source, f"{row['question']} {row['answer']}")
        example = teach_example(row, prompt, made, span, topic)
        if not (found := unfit(example, texts)):
            return Pair(example, row["exam_question"])
        fault, detail = found
    return LeftOut(id_of(row["question"], row["answer"]), row["question"], made["call"], fault or "", detail)


def misshapen(row: Mapping[str, str], span: tuple[int, int] | None) -> str | None:
    """What is wrong with the texts of a pair, in a few words; None if nothing is that shows without the source."""
    if not all(row.values()):
        return "a text is empty"
    if span is None:
        return "span not in the source"
    if span[1] - span[0] > LONGEST_SPAN:
        return "span too long"
    if len(row["answer"].split()) > LONGEST_ANSWER:
        return "answer too long"
    if max(len(row["question"]), len(row["exam_question"])) > LONGEST_QUESTION:
        return "question too long"
    return badly_asked(row)


def badly_asked(row: Mapping[str, str]) -> str | None:
    """What is wrong with the two questions of a pair, in a few words; None if nothing is."""
    teach, exam, answer = (words(row[name]) for name in ("question", "exam_question", "answer"))
    if similar(teach, exam):
        return "exam question in the same words"
    if any(_SPEAKS_OF_ITSELF.search(row[name]) for name in ("question", "exam_question")):
        return "question that needs the source beside it"
    if any(f" {' '.join(answer)} " in f" {' '.join(asked)} " for asked in (teach, exam)):
        return "question that holds its answer"
    if control(row["exam_question"]) or len(exam) < 2:
        return "structure"
    return None


def teach_example(
    row: Mapping[str, str], prompt: Prompt, made: Mapping[str, str], span: tuple[int, int], topic: str
) -> Example:
    """example.v1 of the question that is taught, with no family yet."""
    return {
        "schema": "example.v1",
        "id": id_of(row["question"], row["answer"]),
        "family": "f-" + "0" * 12,
        "topic": topic,
        "kind": prompt.kind,
        "template": f"{prompt.kind}.model-teach",
        "use": "teach",
        "question": row["question"],
        "answer": row["answer"],
        "short": len(row["answer"].split()) <= SHORT,
        "spans": [{"source": prompt.chunk.source, "start": span[0], "end": span[1]}],
        "made": dict(made),
    }


def id_of(question: str, answer: str) -> str:
    return "e-" + hashlib.sha256((question + answer).encode()).hexdigest()[:12]
