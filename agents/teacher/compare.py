"""Put two facts side by side: what each of two like things is, and which of them fits a description."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from agents.exam.near import jaccard, letters, words
from agents.teacher.fact import Fact

MOST_COMPARED = 160  # pairs; every comparison merges two families, and the exam needs many families
MOST_OF_A_KIND = 10  # pairs of one module or catalogue, so that no source fills them all
LONGEST = 13  # words of each side; together they are still one readable answer
LIKE, SAME = 0.3, 0.9  # Jaccard of letter trigrams: below is far-fetched, above there is nothing to tell apart

NAMED = ("named", "described", "error-described", "symbol")
TOLD = ("summary", "error-summary", "meaning")


@dataclass(frozen=True)
class Thing:
    """Something with a name and a sentence about it, each a fact of its own."""

    name: Fact
    told: Fact

    @property
    def letters(self) -> frozenset[str]:
        return letters(words(f"{self.name.answer.rpartition('.')[2]} {self.told.answer}".replace("_", " ")))


def comparisons(facts: Iterable[Fact]) -> list[Fact]:
    """Facts of two things each; no thing is compared twice."""
    groups: dict[tuple[str, str], list[Thing]] = defaultdict(list)
    for thing in _things(facts):
        groups[thing.name.slot("what") or thing.name.slot("sort"), thing.name.spans[0][0]].append(thing)
    scored = (
        sorted(
            (-score, one.name.answer, other.name.answer, one, other)
            for things in groups.values()
            for one, other in combinations(sorted(things, key=lambda thing: thing.name.key), 2)
            if LIKE <= (score := jaccard(one.letters, other.letters)) <= SAME
        )
        if groups
        else []
    )
    made: list[Fact] = []
    used: set[str] = set()
    count: dict[str, int] = defaultdict(int)
    for _, _, _, one, other in scored:
        group = one.name.slot("what") or one.name.slot("sort")
        if used & {one.name.key, other.name.key} or count[group] >= MOST_OF_A_KIND or len(used) >= 2 * MOST_COMPARED:
            continue
        used |= {one.name.key, other.name.key}
        count[group] += 1
        made += _facts(one, other)
    return made


def _things(facts: Iterable[Fact]) -> Iterator[Thing]:
    listed = list(facts)
    told = {fact.slot("name"): fact for fact in listed if fact.shape in TOLD}
    for fact in sorted(listed, key=lambda fact: fact.key):
        if fact.shape in NAMED and fact.answer in told and len(told[fact.answer].answer.split()) <= LONGEST:
            yield Thing(fact, told[fact.answer])


def _facts(one: Thing, other: Thing) -> Iterator[Fact]:
    """The comparison, and the question which of the two fits; a hash says who is named first, and who is asked for."""
    first, second = (one, other) if _coin(one, other, "order") else (other, one)
    names = {"a": first.name.answer, "b": second.name.answer}
    sides = [f"{thing.name.answer}: {thing.told.answer.rstrip('.')}." for thing in (first, second)]
    spans = tuple(fact.spans[0] for thing in (first, second) for fact in (thing.name, thing.told))
    topic, catalogue = first.name.topic, first.name.catalogue
    yield Fact("compare", tuple(sorted(names.items())), " ".join(sides), spans, topic, catalogue)
    wanted = one if _coin(one, other, "which") else other
    slots = {name: value for name, value in wanted.name.slots if name in ("do", "does", "says")}
    shape = "which" if "does" in slots else "which-described"
    yield Fact(shape, tuple(sorted((names | slots).items())), wanted.name.answer, wanted.name.spans, topic, catalogue)


def _coin(one: Thing, other: Thing, salt: str) -> bool:
    return bool(hashlib.sha256(f"{salt}|{one.name.answer}|{other.name.answer}".encode()).digest()[0] & 1)
