"""A pilot: ask a small part of what a run will ask, in the run's own mailbox, and keep what the answers took.

The questions are the steps' own, so the run finds them answered and pays for none of them again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from agents import collect, research
from agents._ask import Question
from agents.asking import domain, preference
from agents.exam import rubric
from agents.exam.scoring import judge_question
from agents.quoting.ahead import Ahead
from agents.quoting.plan import AGENT, ROLE, Plan
from agents.quoting.rates import COMPARED, JUDGED, MAP, PAIRS, SCENARIOS, STUDY
from agents.quoting.sample import Asks, Books, Listening, Sample, Told
from agents.quoting.waves import Asked, Waves, evenly, fresh, known_by
from agents.teacher.pair import Pair

SHARE = 0.02  # of all calls
LEAST = 170  # calls: fewer tell the mean of an answer's tokens, which vary by half of it, no better than to 8%
SURE = 0.5  # of the first wave of prompts, where tools may add sources, which push the rest behind it
STAND_INS = 8  # questions of the exam that a judge compares answers to: it says a sentence each time, much alike
STAND_INS = 8  # questions of the exam that a judge compares answers to: it says a sentence each time, much alike
CHANCES = 1 << 32  # as many equal parts has what a hash draws

Example = dict[str, Any]


class Pilot:
    """Asks a pilot of a plan; `asker` makes the asker of a step, `reused` are the calls that are answered already."""

    def __init__(
        self,
        plan: Plan,
        wanted: int,
        asker: Callable[[str], Asks],
        say: Callable[..., None],
        books: Books,
        reused: frozenset[str],
    ) -> None:
        self.plan, self.wanted, self.asker, self.say, self.books = plan, wanted, asker, say, books
        self.sample = Sample(reused=reused)

    def run(self) -> tuple[Ahead, Sample]:
        """(what lies ahead, with the map and the sources that were made; what the answers took).

        The researcher is asked all, since what it says decides what the teacher is asked; of the others, a part. It
        ends at the first kind of question that nobody answers.
        """
        ahead, sample = self.plan.ahead, self.sample
        if MAP in self.plan.kinds:
            ahead = self.mapped()
        if STUDY in self.plan.kinds and not ahead.has_tools("research"):  # with tools, only the step itself can ask
            self.ask(STUDY, ahead.studies())
        if SCENARIOS in self.plan.kinds:
            written = collect.written_by(self.listening(SCENARIOS), ahead.materials(), self.say)
            ahead = ahead.with_answers(ahead.document, list(collect.scenario_sources(written)))
        found = self.taught(ahead) if PAIRS in self.plan.kinds and not sample.stopped else []
        if JUDGED in self.plan.kinds:
            self.judged(ahead, found)
        if COMPARED in self.plan.kinds and not sample.stopped:
            self.compared([one for one in ahead.cut if one["use"] == "exam" and not one["short"]])
        for answers in sample.answers.values():  # whichever came first, the draws are the same
            answers.sort(key=lambda one: (one.bytes, one.input, one.output, one.id))
        return ahead, sample

    def listening(self, kind: str) -> Listening:
        step, plan = self.plan.ahead.steps[AGENT[kind]], self.plan
        return Listening(self.asker(step), kind, plan.profile(kind), plan.enabled, self.books, self.sample)

    def ask(self, kind: str, questions: Sequence[Question]) -> list[Any]:
        """The documents of the answers of use, in the order of asking; None for the others."""
        if self.sample.stopped or not questions:
            return [None] * len(questions)
        self.say(f"asking {ROLE[kind]} {len(questions)} times: {kind}")
        found = dict(self.listening(kind).all(ROLE[kind], questions))
        return [research.useful(found[place]) for place in range(len(questions))]

    def mapped(self) -> Ahead:
        """Ask for the map; what lies ahead by it."""
        ahead, (drawn,) = self.plan.ahead, self.ask(MAP, [self.plan.ahead.map()])
        if not drawn:
            return ahead
        document = copy.deepcopy(ahead.document)
        research.remap(document, domain.mapping(drawn, ahead.goal), ahead.goal.sources)
        return ahead.with_answers(document, [])

    def taught(self, ahead: Ahead) -> list[Pair]:
        """Ask the teacher, leaving the judge as much room; returns the pairs that hold."""
        room = (self.wanted - self.sample.asked.total()) // (2 if JUDGED in self.plan.kinds else 1)
        waves, sample = Waves(ahead, lambda: self.listening(PAIRS), self.say), self.sample
        own, sources = dict[str, list[Asked]](), {one.chunk.key: one.chunk.source for one in ahead.prompts}
        for one in waves.ask(room):
            own.setdefault(one.prompt.chunk.key, []).append(one)
        sample.waves = waves.seen
        for key, found in own.items():
            if answers := [one.answer for one in found if one.answer]:
                pairs = [pair for one in found for pair in one.pairs]
                sample.chunks.append(Told(answers, pairs, ahead.sorts[sources[key]]))
        return sample.pairs

    def judged(self, ahead: Ahead, found: Sequence[Pair]) -> None:
        """Ask the judge about some of the pairs that the run will ask it about."""
        left = self.wanted - self.sample.asked.total()
        some = evenly(fresh(found, known_by(ahead.cut)), left, ahead.goal.seed, JUDGED)
        said = self.ask(JUDGED, [judge_question(one.example, ahead.texts) for one in some])
        self.sample.judged = sum(one is not None for one in said)
        self.sample.failed = sum(one is not None and rubric.fault(one) is not None for one in said)

    def compared(self, items: Sequence[Example]) -> None:
        """Ask the judge about stand-ins for what base and specialist will say, which tells how long its answers are.

        An item's own reference stands for one answer, another's for the other. The run asks other questions: these
        are asked beside it.
        """
        some = evenly(items, STAND_INS, self.plan.ahead.goal.seed, COMPARED)
        asked = []
        for item, other in zip(some, [*some[1:], *some[:1]], strict=True):
            answers = other["answer"], item["answer"]
            asked += [preference.question(item, *answers), preference.question(item, *reversed(answers))]
        self.ask(COMPARED, asked if len(some) > 1 else [])


def size_wanted(plan: Plan, expected: Mapping[str, Any]) -> int:
    """How many calls of the run a pilot makes; what the judge compares beside it comes on top."""
    return max(LEAST, ceil(SHARE * sum(one.calls for one in expected.values())))
