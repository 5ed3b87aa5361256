"""From rates to amounts: how many calls of each kind a run makes, their tokens, dollars and seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from agents._ask import WINDOW, Question
from agents.asking import scenarios
from agents.improve import GROWTH
from agents.models.ledger import EXTRA_PER_MESSAGE, EXTRA_TOKENS
from agents.models.profile import Profile, profiles
from agents.quoting.ahead import Ahead, Sent, largest, sent
from agents.quoting.curve import NONE_SEEN, Curve, Seen, Yield
from agents.quoting.exam import examined, long
from agents.quoting.rates import (
    COMPARED,
    FOREIGN,
    JUDGED,
    LOOKUP,
    MADE_BYTES,
    MAP,
    PAIRS,
    SCENARIOS,
    STUDY,
    Examined,
    Rates,
)
from agents.quoting.who import Who
from agents.teacher.prompts import SCHEMA

ROLE = {MAP: "researcher", STUDY: "researcher", LOOKUP: "researcher", SCENARIOS: "researcher", PAIRS: "teacher"}
ROLE |= {JUDGED: "judge", COMPARED: "judge"}
AGENT = {MAP: "research", STUDY: "research", LOOKUP: "collect", SCENARIOS: "collect", PAIRS: "generate"}
AGENT |= {JUDGED: "generate", COMPARED: "evaluate"}  # `generate` asks the judge in advance, and it stands in its books
LONGEST = 4  # times as long as a mean one are the longest question and reference of an exam


@dataclass(frozen=True)
class Amount:
    """Some calls: tokens in all, dollars (None: no price is known), seconds of answering one after another.

    `held` are tokens that budgets keep reserved beside them, for attempts that brought no answer.
    """

    calls: float = 0.0
    input: float = 0.0
    output: float = 0.0
    held: float = 0.0
    usd: float | None = 0.0
    seconds: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        sums = (self.calls + other.calls, self.input + other.input, self.output + other.output, self.held + other.held)
        return Amount(*sums, usd, self.seconds + other.seconds)


def total(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())


class Plan:
    """What a run of `ahead` comes to with these models, at any rates."""

    def __init__(self, ahead: Ahead, who: Mapping[str, Who]) -> None:
        self.ahead, self.who = ahead, who
        self.enabled = profiles(ahead.config.infra, ahead.goal.budget)
        self.rounds = ahead.goal.rounds if isinstance(ahead.goal.rounds, int) else 1

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of calls that this run makes, in the order of its steps."""
        ahead, found = self.ahead, []
        for kind, role in ROLE.items():
            there = role in self.who and AGENT[kind] in ahead.steps
            there = there and (kind != LOOKUP or ahead.has_tools("collect"))
            if there and (kind != JUDGED or "teacher" in self.who):  # nobody judges what was cut from the sources
                found.append(kind)
        return tuple(found)

    def profile(self, kind: str) -> Profile:
        return self.who[ROLE[kind]].profile

    @cached_property
    def known(self) -> dict[str, Sent]:
        """The mean question of each kind but the prompts, without what earlier answers put into it."""
        ahead, made = self.ahead, {}
        questions = {
            MAP: lambda: [ahead.map()],
            STUDY: ahead.studies,
            LOOKUP: ahead.lookups,
            SCENARIOS: ahead.batches,
            JUDGED: lambda: [ahead.empty_judged()],
            COMPARED: lambda: [ahead.empty_compared()],
        }
        for kind in self.kinds:
            if kind in questions:
                sizes = [sent(one, self.profile(kind)) for one in questions[kind]()]
                n = len(sizes) or 1
                sums = (sum(one.bytes for one in sizes), sum(one.schema for one in sizes))
                messages = max((one.messages for one in sizes), default=0)
                made[kind] = Sent(round(sums[0] / n), round(sums[1] / n), messages)
                self.counts[kind] = len(sizes)
        return made

    @cached_property
    def counts(self) -> dict[str, int]:
        return {}

    @cached_property
    def sizes(self) -> list[int]:
        return self.ahead.sizes(self.profile(PAIRS))

    @cached_property
    def order(self) -> list[str]:
        """The sort of source of each chunk, in the order in which the chunks are asked about."""
        keys = {one.chunk.key: self.ahead.sorts[one.chunk.source] for one in self.ahead.prompts}
        return list(keys.values())

    @cached_property
    def prompt(self) -> Sent:
        """The first prompt: its schema and messages are those of all."""
        first = self.ahead.prompts[:1]
        return sent(Question(first[0].messages(), SCHEMA), self.profile(PAIRS)) if first else Sent(0, 0, 1)

    @cached_property
    def exam(self) -> Examined:
        """What the pairs that are cut from the sources give the exam."""
        return examined(self.ahead, self.ahead.cut)[0]

    # -- how many -------------------------------------------------------------------------------------------

    def calls(self, rates: Rates) -> dict[str, float]:
        """How many calls of each kind there are, over all rounds."""
        known, prompts = self.known, [n for n, _ in self.taught(rates)]
        apart = self.curve(rates.apart, rates)
        tools = rates.tool_rounds if self.ahead.has_tools("research") else 1.0
        found = {
            MAP: 1.0 * self.rounds,
            STUDY: self.counts.get(STUDY, 0) * tools * self.rounds,
            LOOKUP: self.counts.get(LOOKUP, 0) * rates.tool_rounds * self.rounds,
            SCENARIOS: self.counts.get(SCENARIOS, 0) / scenarios.lacking([]) * rates.batches,
            PAIRS: float(sum(prompts)),
            JUDGED: sum(map(apart.at, prompts)) + self.wordings(rates),
        }
        if COMPARED in self.kinds:
            found[COMPARED] = 2 * rates.differ * self.long(rates)[0] * self.rounds + rates.beside
        return {kind: found[kind] for kind in self.kinds if kind in known or kind == PAIRS}

    def taught(self, rates: Rates) -> list[tuple[int, float]]:
        """(prompts that the teacher is asked, different pairs that they give), round by round."""
        if PAIRS not in self.kinds:
            return []
        found = []
        for round, wanted in enumerate(self.wants(self.ahead.wanted)):  # of a later round, no prompt was asked yet
            curve = self.curve(rates.new, rates, NONE_SEEN if round else rates.seen)
            prompts = curve.prompts(wanted, len(self.sizes) - 1)
            found.append((prompts, min(wanted, curve.at(prompts))))
        return found

    def curve(self, told: Yield, rates: Rates, seen: Seen = NONE_SEEN) -> Curve:
        return Curve(told, self.order, rates.rich, seen)

    def wordings(self, rates: Rates) -> float:
        """Exam wordings that the teacher's pairs give."""
        return rates.exams.at(sum(pairs for _, pairs in self.taught(rates)))

    def long(self, rates: Rates) -> tuple[float, float]:
        """(questions of the exam with a long answer, bytes of one with its reference)."""
        return long(self.exam, rates.made.times(self.wordings(rates)))

    def wants(self, first: int) -> list[int]:
        """Pairs wanted of the teacher, round by round; `improve` asks for a quarter more each time."""
        goal, found = self.ahead.goal.examples, [first]
        for _ in range(self.rounds - 1):
            found.append(ceil(GROWTH * goal))
            goal += found[-1]
        return found

    # -- what they take -------------------------------------------------------------------------------------

    def amounts(self, rates: Rates) -> dict[str, Amount]:
        """What the calls of each kind come to."""
        return {kind: self.amount(kind, n, rates) for kind, n in self.calls(rates).items()}

    def amount(self, kind: str, calls: float, rates: Rates) -> Amount:
        profile = self.enabled[rates.by[kind]] if kind in rates.by else self.profile(kind)
        size = self.prompt if kind == PAIRS else self.known[kind]
        told: float = size.bytes + rates.foreign[kind]
        if kind == PAIRS and calls:
            first = min(len(self.sizes) - 1, round(calls))
            told = self.sizes[first] / first
        if kind == COMPARED:
            told += self.long(rates)[1]
        around = 0.0
        if kind not in rates.measured:
            told, around = told + size.schema * rates.schema_counted, size.messages * rates.message_tokens
        input = calls * (told * rates.tokens_per_byte[kind] + around)
        output = calls * min(rates.output[kind], profile.max_output)
        if kind in rates.paid:
            paid = rates.paid[kind]
            usd = paid.input * input + paid.answer * calls if paid else None
        else:
            usd = profile.price.usd(1, 0) * input + profile.price.usd(0, 1) * output if profile.price else None
        at_once = max(1, min(profile.concurrency, WINDOW, ceil(calls)))
        return Amount(
            calls, input, output, calls * rates.held.get(kind, 0.0), usd, calls * rates.seconds[kind] / at_once
        )

    def largest(self) -> tuple[int, int]:
        """The most tokens that one call may take, (in, out), as it is reserved: a call budget must hold them."""
        found = []
        for kind in self.kinds:
            who, size = self.who[ROLE[kind]], self.prompt if kind == PAIRS else self.known[kind]
            told = size.bytes + size.schema
            if kind == PAIRS:
                told = max((b - a for a, b in zip(self.sizes, self.sizes[1:], strict=False)), default=0) + size.schema
            elif kind == STUDY:
                told = largest(self.ahead.studies(), who.profile)
            elif kind == COMPARED:
                told += round(LONGEST * max(self.exam.bytes, MADE_BYTES.high))
            most = min(who.role.max_tokens, who.profile.max_output)
            found.append((told + round(FOREIGN[kind].high if kind in FOREIGN else 0), most, size.messages))
        return max(((b + EXTRA_TOKENS + EXTRA_PER_MESSAGE * m, out) for b, out, m in found), key=sum, default=(0, 0))
