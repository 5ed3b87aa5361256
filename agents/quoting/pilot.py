"""A pilot: ask a small part of what a run will ask, in the run's own mailbox, and keep what the answers took.

The questions are the steps' own, so the run finds them answered and pays for none of them again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

from agents import collect, research
from agents._ask import Asker, Question, Unanswered
from agents.asking import domain
from agents.exam.judging import judge_question
from agents.models.profile import Profile
from agents.quoting.ahead import Ahead, sent
from agents.quoting.plan import AGENT, ROLE, Plan
from agents.quoting.rates import JUDGED, MAP, PAIRS, SCENARIOS, STUDY
from agents.teacher.distil import Pair, Teacher
from agents.teacher.prompts import KINDS, Prompt
from agents.teacher.prompts import PAIRS as ASKED_FOR
from agents.teacher.wording import rank

SHARE = 0.02  # of all calls
LEAST = 170  # calls: fewer tell the mean of an answer's tokens, which vary by half of it, no better than to 8%
SURE = 0.5  # of the first wave of prompts, where tools may add sources, which push the rest behind it
T = TypeVar("T")


@dataclass(frozen=True)
class Heard:
    """One answer of the pilot: the bytes that were asked, and what it took."""

    bytes: int
    input: int
    cached: int
    output: int
    seconds: float
    usd: float | None


@dataclass
class Sample:
    """What a pilot found. `chunks` are the prompts of one chunk each: (their answers, pairs that hold)."""

    heard: dict[str, list[Heard]] = field(default_factory=dict)
    chunks: list[tuple[list[Heard], int]] = field(default_factory=list)
    pairs: list[list[Pair]] = field(default_factory=list)  # by chunk
    asked: int = 0
    unanswered: int = 0
    stopped: str = ""  # why it ended early

    @property
    def calls(self) -> int:
        return sum(map(len, self.heard.values()))


@dataclass
class Listening:
    """Asks as a step does, and notes what each answer took."""

    asker: Asker
    kind: str
    profiled: Profile
    sample: Sample
    places: dict[int, Heard] = field(default_factory=dict)

    def profile(self, role: str) -> str | None:
        return self.asker.profile(role)

    def all(self, role: str, questions: Iterable[Question]) -> Iterator[tuple[int, dict[str, Any] | Unanswered]]:
        for place, answer in self.asker.all(role, self.until_stopped(questions)):
            if isinstance(answer, Unanswered):
                self.sample.unanswered += 1
                self.sample.stopped = self.sample.stopped or (answer.message if answer.kind == "budget" else "")
            else:
                self.places[place] = heard(answer, self.profiled)
                self.sample.heard.setdefault(self.kind, []).append(self.places[place])
            yield place, answer

    def until_stopped(self, questions: Iterable[Question]) -> Iterator[Question]:
        for one in questions:
            if self.sample.stopped:
                return
            self.sample.asked += 1
            yield one


@dataclass
class Desk:
    """As much of a step's job as a teacher needs."""

    models: Listening
    say: Callable[..., None]


def heard(answer: Mapping[str, Any], profile: Profile) -> Heard:
    """What an answer took, all its attempts together; seconds are those of the exchanges, without any queue."""
    call, tokens = answer["call"], answer["tokens"]
    seconds = sum(float(one["seconds"]) for one in answer["attempts"])
    size = sent(Question(call["messages"], call["answer_schema"]), profile).bytes
    return Heard(size, tokens["input"], tokens["cached"], tokens["output"], seconds, answer["usd"])


class Pilot:
    """Asks a pilot of a plan; `asker` makes the asker of a step."""

    def __init__(self, plan: Plan, wanted: int, asker: Callable[[str], Asker], say: Callable[..., None]) -> None:
        self.plan, self.wanted, self.asker, self.say = plan, wanted, asker, say
        self.sample = Sample()

    def run(self) -> tuple[Ahead, Sample]:
        """(what lies ahead, with the map and the sources that were made; what the answers took).

        The researcher is asked all, since what it says decides what the teacher is asked; of the others, a part.
        """
        ahead = self.plan.ahead
        if MAP in self.plan.kinds:
            ahead = self.mapped()
            if not ahead.has_tools("research"):  # with tools, only the step itself can ask
                self.ask(STUDY, ahead.studies())
        if SCENARIOS in self.plan.kinds and not self.sample.stopped:
            written = collect.written_by(self.listening(SCENARIOS), ahead.materials(), self.say)
            ahead = ahead.with_answers(ahead.document, list(collect.scenario_sources(written)))
        if PAIRS in self.plan.kinds and not self.sample.stopped:
            found = self.taught(ahead)
            if JUDGED in self.plan.kinds:
                self.judged(ahead, found)
        for answers in self.sample.heard.values():  # whichever came first, the draws are the same
            answers.sort(key=lambda one: (one.bytes, one.input, one.output))
        return ahead, self.sample

    def listening(self, kind: str) -> Listening:
        step = self.plan.ahead.steps[AGENT[kind]]
        return Listening(self.asker(step), kind, self.plan.profile(kind), self.sample)

    def ask(self, kind: str, questions: Sequence[Question]) -> list[Any]:
        """The documents of the answers of use, in the order of asking; None for the others."""
        self.say(f"asking {ROLE[kind]} {len(questions)} times: {kind}")
        found = dict(self.listening(kind).all(ROLE[kind], questions))
        return [research.useful(found[place]) if place in found else None for place in range(len(questions))]

    def chosen(self, listed: Sequence[T], what: str, most: int) -> list[T]:
        """Some of a list, by a seeded choice, in its order."""
        seed = self.plan.ahead.goal.seed
        places = sorted(range(len(listed)), key=lambda place: rank(seed, "pilot", what, str(place)))[: max(0, most)]
        return [listed[place] for place in sorted(places)]

    def mapped(self) -> Ahead:
        """Ask for the map; what lies ahead by it."""
        ahead, (drawn,) = self.plan.ahead, self.ask(MAP, [self.plan.ahead.map()])
        if not drawn:
            return ahead
        document = copy.deepcopy(ahead.document)
        research.remap(document, domain.mapping(drawn, ahead.goal), ahead.goal.sources)
        return ahead.with_answers(document, [])

    def taught(self, ahead: Ahead) -> list[Pair]:
        """Ask the teacher about some chunks of the first wave, in all kinds; the pairs that hold."""
        wave = ahead.prompts[: ceil(ahead.wanted / ASKED_FOR)]
        if ahead.has_tools("collect"):
            wave = wave[: ceil(SURE * len(wave))]
        groups = [group for group in by_chunk(wave) if len(group) == len(KINDS)]
        left = self.wanted - self.sample.asked
        share = 2 if JUDGED in self.plan.kinds else 1
        some = self.chosen(groups, PAIRS, ceil(left / share / len(KINDS)))
        asked = [one for group in some for one in group]
        self.say(f"asking teacher {len(asked)} times: {PAIRS}")
        listening = self.listening(PAIRS)
        teacher = Teacher(Desk(listening, self.say), ahead.texts, ahead.topic, ahead=False)
        found, place = teacher.asked(asked, 0), 0
        for group in some:
            own = range(place, place + len(group))
            place += len(group)
            answers = [listening.places[at] for at in own if at in listening.places]
            pairs = [pair for at in own for pair in found.get(at, [])]
            if answers:
                self.sample.chunks.append((answers, len(pairs)))
                self.sample.pairs.append(pairs)
        return [pair for own in self.sample.pairs for pair in own]

    def judged(self, ahead: Ahead, pairs: Sequence[Pair]) -> None:
        """Ask the judge about some of the pairs, each once."""
        asked = {str(found.messages): found for found in (judge_question(one.example, ahead.texts) for one in pairs)}
        self.ask(JUDGED, self.chosen(list(asked.values()), JUDGED, self.wanted - self.sample.asked))


def by_chunk(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Prompts in a row that are about the same chunk."""
    found: list[list[Prompt]] = []
    for one in prompts:
        if not found or found[-1][0].chunk != one.chunk:
            found.append([])
        found[-1].append(one)
    return found


def size_wanted(plan: Plan, expected: Mapping[str, Any]) -> int:
    """How many calls a pilot makes."""
    return max(LEAST, ceil(SHARE * sum(one.calls for one in expected.values())))
