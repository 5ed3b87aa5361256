"""Ask a model for pairs about each chunk, and keep those whose span stands in the source and proves the answer.

What is kept depends on the answers alone, not on the order in which they come: each wave of prompts is put together in
the order in which it was asked. A run that was stopped asks the same prompts again, and finds what is answered.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import Any

from agents._ask import GIVEN_UP, Question, Unanswered
from agents.exam.near import similar, words
from agents.exam.quality import control, same_question, unfit
from agents.exam.scoring import judge_question
from agents.models import call as calls
from agents.teacher.fact import SHORT
from agents.teacher.families import Node
from agents.teacher.prompts import PAIRS, SCHEMA, TEXTS, Prompt
from agents.teacher.spans import find

LONGEST_SPAN = 600  # characters; a longer one would "prove" anything that the chunk is about
LONGEST_ANSWER = 120  # words; longer ones are lists or essays, and a row of training would be cut
ENOUGH = 0.98  # of the wanted pairs: another wave for the last few would hold everything up for one slow call
MOST_NAME = 100  # characters of a model's name, which its server makes up
SAY_EVERY = 50  # questions between two progress lines

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


@dataclass
class Account:
    """What was asked and what became of it; `generated.json` and the report tell it."""

    prompts: int = 0  # that could be asked
    answers: Counter[str] = field(default_factory=Counter)  # good, or what was wrong with them
    given: int = 0  # pairs in good answers
    left_out: Counter[str] = field(default_factory=Counter)  # pairs by reason
    chunks: set[str] = field(default_factory=set)  # that gave an answer
    gone: str = ""  # why no more was asked, in a line

    @property
    def answered(self) -> int:
        """Questions that a model answered, whatever that was worth."""
        return sum(n for how, n in self.answers.items() if not how.startswith(GIVEN_UP))


@dataclass
class Teacher:
    """Asks the prompts of one round. `texts` is {source id: text}; `topic_of` gives the topic's slug of a text.

    `ahead`: the judge is asked about each pair at once, which a pilot does itself for a few.
    """

    job: Any
    texts: Mapping[str, str]
    topic_of: Callable[[str, str], str]
    account: Account = field(default_factory=Account)
    ahead: bool = True

    def pairs(self, feed: Iterator[Prompt], wanted: int) -> list[Pair]:
        """About `wanted` pairs, or all that the prompts, the model and the budget give."""
        found: dict[str, Pair] = {}  # by the question, as it is compared
        while len(found) < ENOUGH * wanted and not self.account.gone:
            wave = list(islice(feed, ceil((wanted - len(found)) / PAIRS)))
            if not wave:
                break
            answered = self.asked(wave, len(found))
            for pair in (pair for place in sorted(answered) for pair in answered[place]):
                question = same_question(pair.example["question"])
                if question in found:
                    self.account.left_out["asked twice"] += 1
                found.setdefault(question, pair)
        return list(found.values())

    def asked(self, wave: list[Prompt], before: int) -> dict[int, list[Pair]]:
        """{place in the wave: the pairs that hold}; the judge, if there is one, is asked about each at once."""
        found: dict[int, list[Pair]] = {}
        unpaid: dict[int, str] = {}
        questions = (Question(one.messages(), SCHEMA, one.sample) for one in self.until_gone(wave))
        for place, answer in self.job.models.all("teacher", questions):
            how = self.outcome(answer)
            self.account.answers[how] += 1
            self.account.prompts += 1
            if isinstance(answer, Unanswered) and answer.kind == "budget":
                unpaid[place] = answer.message
            if how == "good":
                self.account.chunks.add(wave[place].chunk.key)
                found[place] = list(self.holding(answer, wave[place]))
                self.show([pair.example for pair in found[place]] if self.ahead else [])
            if self.account.prompts % SAY_EVERY == 0:
                now, came = before + sum(map(len, found.values())), self.account.answered
                lost = f" ({self.account.prompts - came} questions given up)" if came < self.account.prompts else ""
                self.job.say(f"{came} answers of the teacher{lost}, {now} pairs that hold", answers=came, pairs=now)
        if unpaid:
            self.account.gone = unpaid[min(unpaid)]  # whichever was told first
        return found

    def show(self, examples: Iterable[Example]) -> None:
        """Ask the judge about examples and do not wait: `filter` will want to know, the teacher goes on meanwhile."""
        if self.job.models.profile("judge") is not None:
            for one in examples:
                self.job.models.put([self.job.models.call("judge", judge_question(one, self.texts))])

    def until_gone(self, wave: Iterable[Prompt]) -> Iterator[Prompt]:
        """The prompts of a wave, until the money is gone."""
        for one in wave:
            if self.account.gone:
                return
            yield one

    def outcome(self, answer: Mapping[str, Any] | Unanswered) -> str:
        """`good`, or in a word what is wrong with an answer; notes when nothing more can be had."""
        if isinstance(answer, Unanswered):
            if answer.kind == "budget":
                self.account.gone = self.account.gone or answer.message
            return f"{GIVEN_UP}{answer.kind}"
        return str(answer["error"]["kind"]) if answer["error"] else "good"

    def holding(self, answer: Mapping[str, Any], prompt: Prompt) -> Iterator[Pair]:
        """The pairs of one answer that hold; the others are counted with their reason."""
        given = answer["parsed"]["pairs"]
        self.account.given += len(given)
        self.account.left_out["more than asked for"] += len(given[PAIRS:])
        made = {
            "call": calls.hash_of(answer["call"]),
            "model": "".join(c for c in str(answer["model"]) if c.isprintable())[:MOST_NAME] or "unnamed",
            "persona": prompt.persona,
            "difficulty": prompt.difficulty,
        }
        for raw in given[:PAIRS]:
            pair = self.checked({name: raw[name].strip() for name in TEXTS}, prompt, made)
            if isinstance(pair, str):
                self.account.left_out[pair] += 1
            else:
                yield pair

    def checked(self, row: Mapping[str, str], prompt: Prompt, made: Mapping[str, str]) -> Pair | str:
        """A pair that holds, or in a few words why it does not."""
        if not all(row.values()):
            return "a text is empty"
        span = find(row["span"], prompt.chunk)
        if span is None:
            return "span not in the source"
        if span[1] - span[0] > LONGEST_SPAN:
            return "span too long"
        if len(row["answer"].split()) > LONGEST_ANSWER:
            return "answer too long"
        if fault := badly_asked(row):
            return fault
        topic = self.topic_of(prompt.chunk.source, f"{row['question']} {row['answer']}")
        example = teach_example(row, prompt, made, span, topic)
        found = unfit(example, self.texts)
        return found[0] if found else Pair(example, row["exam_question"])


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
