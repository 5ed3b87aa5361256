"""Find where a training row overlaps what must not stand in training: spans, answers, 8-grams, questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from agents.exam.near import Near, Phrases, Words, grams, words

Example = dict[str, Any]
Span = tuple[str, int, int]  # source, start, end in characters

PAGE = 256  # characters; spans are looked up by the pages that they touch, so that only neighbours are compared


@dataclass(frozen=True)
class Held:
    """What must not stand in training, for one family, one question or one passage; `key` says which."""

    key: str
    phrases: frozenset[Words] = frozenset()  # must not stand in a row's question or answer
    answers: frozenset[Words] = frozenset()  # no row's answer may be nearly equal to one
    spans: frozenset[Span] = frozenset()  # no row's span may overlap one
    grams: frozenset[Words] = frozenset()  # runs of eight words that no row may hold
    asked: frozenset[Words] = frozenset()  # runs of eight words that no row's question may hold
    questions: frozenset[Words] = frozenset()  # no row may ask one


@dataclass
class Clash:
    """One overlap between a training row and what is held."""

    key: str
    reason: str
    detail: str


def family_of(key: str, examples: Iterable[Example], sources: dict[str, str]) -> Held:
    """Everything that one family's examples say, whatever their use: their answers and the spans of these."""
    answers, phrases, spans = set(), set(), set()
    for example in examples:
        answers.add(words(example["answer"]))
        for span in example["spans"]:
            spans.add((span["source"], span["start"], span["end"]))
            phrases.add(words(sources[span["source"]][span["start"] : span["end"]]))
    phrases |= answers
    runs = frozenset(gram for phrase in phrases for gram in grams(phrase))
    return Held(key, frozenset(phrases - {()}), frozenset(answers - {()}), frozenset(spans), runs)


def question_of(key: str, question: str, *, shares_answer: bool) -> Held:
    """One exam question. Where training may share its answer (`taught`), only questions are compared with it."""
    asked = words(question)
    runs = frozenset(grams(asked))
    if shares_answer:
        return Held(key, asked=runs, questions=frozenset({asked}))
    return Held(key, grams=runs, questions=frozenset({asked}))


@dataclass
class Watch:
    """An index over what is held; looking at one row takes a time that hardly depends on how much is held.

    What is `spent` is found no more: enough rows overlap it, and a phrase that thousands of rows share with hundreds of
    questions would be found a million times.
    """

    held: list[Held]
    spent: set[str] = field(default_factory=set)
    by: dict[str, dict[Words, list[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("phrases", "answers", "grams", "asked", "questions"):
            table: dict[Words, list[str]] = defaultdict(list)
            for one in self.held:
                for member in getattr(one, kind):
                    table[member].append(one.key)
            self.by[kind] = dict(table)
        self.pages: dict[tuple[str, int], list[tuple[Span, str]]] = defaultdict(list)
        for one in self.held:
            for span in one.spans:
                for page in pages(span):
                    self.pages[page].append((span, one.key))
        self.phrases = Phrases(self.by["phrases"])
        self.near = cache(Near(self.by["answers"]).find)

    def clashes(self, row: Example) -> list[Clash]:
        """Every overlap of one training example with what is held, one for each key, the plainest reason first."""
        asked, answered = words(row["question"]), words(row["answer"])
        found: dict[str, Clash] = {}
        for clash in self.look(row, asked, answered):
            found.setdefault(clash.key, clash)
        return [found[key] for key in sorted(found)]

    def look(self, row: Example, asked: Words, answered: Words) -> Iterator[Clash]:
        for span, key in self.overlapping(row["spans"]):
            yield Clash(key, "shared-span", f"{span[0]} {span[1]}–{span[2]}")
        yield from self.table("questions", [asked], "exam-question")
        yield from self.table("phrases", self.phrases.find(asked) | self.phrases.find(answered), "shared-answer")
        yield from self.table("answers", self.near(answered) if answered else [], "near-answer")
        in_question = grams(asked)
        yield from self.table("grams", in_question | grams(answered), "shared-8-gram")
        yield from self.table("asked", in_question, "shared-8-gram")

    def table(self, kind: str, members: Iterable[Words], reason: str) -> Iterator[Clash]:
        table = self.by[kind]
        for member in sorted(member for member in members if member in table):
            if self.spent:
                table[member] = [key for key in table[member] if key not in self.spent]
            for key in table[member]:
                yield Clash(key, reason, " ".join(member))

    def overlapping(self, spans: list[dict[str, Any]]) -> list[tuple[Span, str]]:
        found = set()
        for span in spans:
            here = (span["source"], span["start"], span["end"])
            for page in pages(here):
                near = (one for one in self.pages.get(page, ()) if one[1] not in self.spent)
                found |= {(s, key) for s, key in near if s[1] < here[2] and here[1] < s[2]}
        return sorted(found)


def pages(span: Span) -> list[tuple[str, int]]:
    """The pages of a source that a span touches."""
    return [(span[0], page) for page in range(span[1] // PAGE, (span[2] - 1) // PAGE + 1)]
