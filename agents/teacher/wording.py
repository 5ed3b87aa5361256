"""Word a family: which of its facts are asked, in which words, and which one wording is kept for the exam."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

from agents.exam.near import grams, words
from agents.teacher.fact import Fact
from agents.teacher.templates import EXAM, TEACH, Template, wordings

MOST_WORDINGS = 6  # of one family, the exam's wording among them
LONGEST_QUESTION = 30  # words; what people type is shorter, but names and descriptions must be whole
LONG_FIRST = 4  # every fourth family examines a sentence although it has a short answer: both kinds are scored
OF_THE_MAIN = 3  # teach wordings of the examined fact, before others have their turn; measured: 2 gave .59 exact, 3 .79
HARD = ("signature", "example", "compare")  # exact code, or two sentences: examined only where nothing else can be
COMPARING = ("compare", "which", "which-described")

Example = dict[str, Any]


def rank(*parts: object) -> str:
    """A place in a shuffled order that depends on the parts alone."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def worded(facts: Iterable[Fact], family: str, limit: int, seed: int) -> list[Example]:
    """Up to `limit` examples of a family: one for the exam, whose fact is also taught; [] if it cannot be examined."""
    ordered = sorted(facts, key=lambda fact: rank(seed, fact.key))
    long_first = int(rank(seed, family)[:8], 16) % LONG_FIRST == 0
    second: list[Example] = []
    if any(fact.shape in COMPARING for fact in ordered):
        limit = max(limit, MOST_WORDINGS - 1)
    for main in sorted(ordered, key=lambda fact: (fact.shape in HARD, fact.short == long_first)):
        taught = list(_first(_teaching(main, ordered, family, seed), limit - 1))
        asked = set().union(*(grams(words(example["question"])) for example in taught)) if taught else set()
        for exam in questions(main, EXAM, family, seed):
            if not any(example["answer"] == exam["answer"] for example in taught):
                continue
            if asked.isdisjoint(grams(words(exam["question"]))):
                return [*taught, exam]
            second = second or [*taught, exam]
    return second  # shares eight words with its own teaching: of use only where the whole family is held out


def more(facts: Iterable[Fact], family: str, seed: int) -> Iterator[Example]:
    """Every teach-worded example of a family, each fact's first wording first."""
    each = [questions(fact, TEACH, family, seed) for fact in sorted(facts, key=lambda fact: rank(seed, fact.key))]
    return (example for row in zip_longest(*each) for example in row if example)


def questions(fact: Fact, use: str, family: str, seed: int) -> list[Example]:
    """The fact in each wording of one use that suits its length, in shuffled order."""
    templates = sorted(wordings(fact.shape, use), key=lambda template: rank(seed, fact.key, template.id))
    made = (example(fact, template, family) for template in templates)
    return [one for one in made if len(one["question"].split()) <= LONGEST_QUESTION]


def example(fact: Fact, template: Template, family: str) -> Example:
    """A row of example.v1."""
    question = template.text.format(**dict(fact.slots))
    return {
        "schema": "example.v1",
        "id": "e-" + hashlib.sha256((question + fact.answer).encode()).hexdigest()[:12],
        "family": family,
        "topic": fact.topic,
        "kind": template.kind,
        "template": template.id,
        "use": template.use,
        "question": question,
        "answer": fact.answer,
        "short": fact.short,
        "spans": [{"source": source, "start": start, "end": end} for source, start, end in fact.spans],
    }


def _teaching(main: Fact, facts: Sequence[Fact], family: str, seed: int) -> Iterator[Example]:
    """Teach wordings in order of use: OF_THE_MAIN of the main fact, the comparisons, other facts, the rest of both.

    Code and other long answers come last: they cost most of a row's training and are hardly examined.
    """
    own = questions(main, TEACH, family, seed)
    compared = [fact for fact in facts if fact.shape in COMPARING and fact is not main]
    others = [fact for fact in facts if fact not in compared and fact is not main]
    others.sort(key=lambda fact: (fact.shape in HARD, not fact.short))
    first = [one for fact in compared + others[:1] for one in questions(fact, TEACH, family, seed)[:1]]
    rest = [one for fact in others[1:2] for one in questions(fact, TEACH, family, seed)[:1]]
    return chain(own[:OF_THE_MAIN], first, own[OF_THE_MAIN:], rest, more(facts, family, seed))


def _first(examples: Iterable[Example], count: int) -> Iterator[Example]:
    seen: set[str] = set()
    for one in examples:
        if len(seen) < count and one["question"] not in seen:
            seen.add(one["question"])
            yield one
