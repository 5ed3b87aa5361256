"""A fact: what can be asked, and the span that answers it.

A fact has a shape (which wordings fit, `agents/teacher/wordings.toml`), slots (what a wording is filled with) and an
answer that stands in the source, letter by letter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from agents.exam.near import words
from agents.teacher.blocks import Piece
from agents.teacher.families import Node, Span

SHORT = 6  # words; the exam scores such answers by exact match (schemas/example.v1.json says so too)
LONGEST_ANSWER = 28  # words; one sentence. Longer ones are lists, and a small model learns none of them
LONGEST_QUOTE = 14  # words of a description inside a question, which must stay readable (25 words in all)
FORMS = ("do", "does")  # slots that repeat `says` in another form


@dataclass(frozen=True)
class Fact:
    shape: str
    slots: tuple[tuple[str, str], ...]
    answer: str
    spans: tuple[Span, ...]
    topic: str = ""
    catalogue: str = ""  # errno, signal or nvml for an entry of these catalogues

    @property
    def asked(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Equal for facts that would be asked in the same words."""
        return self.shape, self.slots

    @property
    def key(self) -> str:
        return hashlib.sha256(repr((self.shape, self.slots, self.answer)).encode()).hexdigest()[:20]

    @property
    def about(self) -> str:
        return " | ".join(value for name, value in self.slots if name not in FORMS)

    @property
    def short(self) -> bool:
        return len(self.answer.split()) <= SHORT

    def slot(self, name: str) -> str:
        return dict(self.slots).get(name, "")

    def node(self) -> Node:
        return Node(self.key, self.answer, self.about, self.spans)


@dataclass(frozen=True)
class Cutter:
    """Makes facts of one source."""

    source: str
    catalogue: str = ""

    def fact(self, shape: str, answer: Piece, **slots: str) -> Fact:
        span = (self.source, answer.start, answer.end)
        return Fact(shape, tuple(sorted(slots.items())), answer.text, (span,), catalogue=self.catalogue)


def checked(fact: Fact, sources: Mapping[str, str]) -> bool:
    """True if the one span is the answer after whitespace folding, or several, joined, are its words in their order."""
    parts = [" ".join(sources[source][start:end].split()) for source, start, end in fact.spans]
    answer = " ".join(fact.answer.split())
    return parts == [answer] or (len(parts) > 1 and words(" ".join(parts)) == words(answer))
