"""Ask a model for pairs about each chunk, and keep those whose span stands in the source and proves the answer.

What is kept depends on the answers alone, not on the order in which they come: each wave of prompts is put together in
the order in which it was asked. A run that was stopped asks the same prompts again, and finds what is answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import Any

from agents._ask import GIVEN_UP, Question, Unanswered
from agents.asking.material import line
from agents.exam.quality import same_question
from agents.exam.scoring import judge_question
from agents.models import call as calls
from agents.teacher.pair import Example, LeftOut, Pair, checked, id_of
from agents.teacher.prompts import PAIRS, SCHEMA, Prompt

ENOUGH = 0.98  # of the wanted pairs: another wave for the last few would hold everything up for one slow call
MOST_NAME = 100  # characters of a model's name, which its server makes up
SAY_EVERY = 50  # questions between two progress lines


@dataclass
class Account:
    """What was asked and what became of it; `generated.json` and the report tell it."""

    prompts: int = 0  # that could be asked
    answers: Counter[str] = field(default_factory=Counter)  # good, or what was wrong with them
    given: int = 0  # pairs in good answers
    left_out: list[LeftOut] = field(default_factory=list)
    chunks: set[str] = field(default_factory=set)  # that gave an answer
    unpaid: dict[int, str] = field(default_factory=dict)  # the place of a prompt: which budget refused it

    @property
    def answered(self) -> int:
        """Questions that a model answered, whatever that was worth."""
        return sum(n for how, n in self.answers.items() if not how.startswith(GIVEN_UP))

    @property
    def gone(self) -> str:
        """Why no more was asked, in a line; of several refusals the first prompt's, whichever was told first."""
        return self.unpaid[min(self.unpaid)] if self.unpaid else ""


@dataclass
class Teacher:
    """Asks the prompts of one round. `texts` is {source id: text}; `topic_of` gives the topic's slug of a text.

    `ahead`: the judge is asked about each pair at once, which a pilot does itself for a few; about one whose question
    stands in `known`, or was asked by an earlier pair, it is not, since that one is left out.
    """

    job: Any
    texts: Mapping[str, str]
    topic_of: Callable[[str, str], str]
    account: Account = field(default_factory=Account)
    ahead: bool = True
    known: set[str] = field(default_factory=set)  # questions as they are compared
    asked_about: int = 0  # prompts of earlier waves

    def pairs(self, feed: Iterator[Prompt], wanted: int, kept: Callable[[list[Pair]], int] = len) -> list[Pair]:
        """Pairs of which about `wanted` are `kept`, or all that the prompts, the model and the budget give."""
        found: list[Pair] = []
        there, asked = 0, set[str]()
        while there < ENOUGH * wanted and not self.account.gone:
            wave = list(islice(feed, ceil((wanted - there) / PAIRS)))
            if not wave:
                break
            answered = self.asked(wave, there)
            for pair in (pair for place in sorted(answered) for pair in answered[place]):
                question = same_question(pair.example["question"])
                if question in asked:
                    self.account.left_out.append(pair.left_out("asked twice"))
                else:
                    asked.add(question)
                    found.append(pair)
            there = kept(found)
        return found

    def asked(self, wave: list[Prompt], before: int) -> dict[int, list[Pair]]:
        """{place in the wave: the pairs that hold}; the judge, if there is one, is asked about each new question.

        It is asked in the order of the prompts, so that it is the same pair of several whenever the answers come.
        """
        found: dict[int, list[Pair]] = {}
        came, shown, account = set[int](), 0, self.account
        questions = (Question(one.messages(), SCHEMA, one.sample) for one in self.until_gone(wave))
        for place, answer in self.job.models.all("teacher", questions):
            how = outcome(answer)
            account.answers[how] += 1
            account.prompts += 1
            came.add(place)
            if isinstance(answer, Unanswered) and answer.kind == "budget":
                account.unpaid[self.asked_about + place] = answer.message
            if how == "good":
                account.chunks.add(wave[place].chunk.key)
                found[place] = list(self.holding(answer, wave[place]))
            while shown in came:
                self.show(found.get(shown, []))
                shown += 1
            if account.prompts % SAY_EVERY == 0:
                now = before + sum(map(len, found.values()))
                lost = account.prompts - account.answered
                more = f" ({lost} questions given up)" if lost else ""
                text = f"{account.answered} answers of the teacher{more}, {now} pairs that hold"
                self.job.say(text, answers=account.answered, pairs=now)
        for place in sorted(found):
            if place >= shown:  # behind a prompt that was never asked
                self.show(found[place])
        self.asked_about += len(wave)
        return found

    def show(self, pairs: Iterable[Pair]) -> None:
        """Ask the judge about those that ask something new."""
        for pair in pairs if self.ahead else ():
            question = same_question(pair.example["question"])
            if question not in self.known:
                self.known.add(question)
                self.ask_judge([pair.example])

    def ask_judge(self, examples: Iterable[Example]) -> None:
        """Ask about examples and do not wait: `filter` will want to know, the teacher goes on meanwhile."""
        if self.job.models.profile("judge") is not None:
            for one in examples:
                self.job.models.put([self.job.models.call("judge", judge_question(one, self.texts))])

    def until_gone(self, wave: Iterable[Prompt]) -> Iterator[Prompt]:
        """The prompts of a wave, until the money is gone."""
        for one in wave:
            if self.account.gone:
                return
            yield one

    def holding(self, answer: Mapping[str, Any], prompt: Prompt) -> Iterator[Pair]:
        """The pairs of one answer that hold; the others are noted with their reason."""
        given = answer["parsed"]["pairs"]
        self.account.given += len(given)
        made = {
            "call": calls.hash_of(answer["call"]),
            "model": line(answer["model"], MOST_NAME) or "unnamed",
            "persona": prompt.persona,
            "difficulty": prompt.difficulty,
        }
        for raw in given[:PAIRS]:
            pair = checked(raw, prompt, made, self.texts, self.topic_of)
            if isinstance(pair, LeftOut):
                self.account.left_out.append(pair)
            else:
                yield pair
        for raw in given[PAIRS:]:
            key = id_of(raw["question"].strip(), raw["answer"].strip())
            self.account.left_out.append(LeftOut(key, raw["question"], made["call"], "more than asked for"))


def outcome(answer: Mapping[str, Any] | Unanswered) -> str:
    """`good`, or in a word what is wrong with an answer."""
    if isinstance(answer, Unanswered):
        return f"{GIVEN_UP}{answer.kind}"
    return str(answer["error"]["kind"]) if answer["error"] else "good"
