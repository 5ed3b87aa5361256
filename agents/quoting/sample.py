"""What a pilot found: what each answer took, whoever gave it, and what became of the questions without one.

Dollars are those that the run's books keep: the price of the profile that answered, and what stays reserved for
attempts that nobody answered or counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agents._ask import Question, Unanswered
from agents.models import call as calls
from agents.models.ledger import Amount, Tally
from agents.models.profile import Profile
from agents.quoting.ahead import sent
from agents.quoting.curve import NONE_SEEN, Seen
from agents.teacher.pair import Pair

PROBES = 3  # questions that a role is asked before all others: where none is answered, hundreds would not be
SKIPPED = "skipped"  # what is said of a question that was not asked, since the pilot had ended


@dataclass(frozen=True)
class Sampled:
    """One answer: the bytes that were asked, who answered, what it took, and what was wrong with it ("": nothing)."""

    id: str
    bytes: int
    input: int  # tokens
    output: int
    held: int  # tokens that stay reserved for attempts without an answer
    seconds: float
    profile: str
    usd: float | None  # None: the profile that answered has no price
    usd_input: float  # the part of `usd` that grows with the question
    error: str


@dataclass(frozen=True)
class Told:
    """What was told about one chunk: the answers, the pairs of them that hold, the sort of its source (see Ahead)."""

    answers: list[Sampled]
    pairs: list[Pair]
    sort: str


@dataclass
class Sample:
    """All answers, by kind, and those about each chunk together; `weights` tells for how many a chunk stands."""

    answers: dict[str, list[Sampled]] = field(default_factory=dict)
    chunks: list[Told] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    waves: Seen = NONE_SEEN
    judged: int = 0
    failed: int = 0  # of the pairs that were judged, those that `filter` will drop
    asked: Counter[str] = field(default_factory=Counter)  # by kind
    unanswered: Counter[str] = field(default_factory=Counter)
    reused: frozenset[str] = frozenset()  # IDs of calls that were answered before the pilot began
    passed_over: dict[str, str] = field(default_factory=dict)  # profile: why it did not answer what it was asked first
    spoke: set[str] = field(default_factory=set)  # the roles that answered
    stopped: str = ""  # why it ended early

    @property
    def pairs(self) -> list[Pair]:
        return [pair for one in self.chunks for pair in one.pairs]

    @property
    def calls(self) -> int:
        return len(self.every)

    @property
    def every(self) -> list[Sampled]:
        return [one for found in self.answers.values() for one in found]

    @property
    def again(self) -> int:
        """How many answers were there before it began."""
        return sum(one.id in self.reused for one in self.every)

    @property
    def paid(self) -> float | None:
        """Dollars of the answers that were not there before; None where nobody knows them."""
        return total(one for one in self.every if one.id not in self.reused)

    @property
    def kept(self) -> float:
        """Of a teacher's examples, the share that its judge lets pass."""
        return 1 - self.failed / self.judged if self.judged else 1.0


def total(found: Iterable[Sampled]) -> float | None:
    """Dollars of some answers; None where nobody knows those of one."""
    paid = [one.usd for one in found]
    return None if None in paid else sum(one for one in paid if one is not None)


class Books:
    """What a run's ledger keeps reserved beside the answers: attempts that were not answered may be billed."""

    def __init__(self, path: Path) -> None:
        self._tally = Tally(path)
        self._open: dict[int, Mapping[str, Any]] = {}
        self._held: dict[str, Amount] = defaultdict(Amount)

    def held(self, id: str) -> Amount:
        """Dollars and tokens of a call's attempts whose price nobody told; tokens only where none were counted."""
        for line in self._tally.lines():
            if line["event"] == "reserve":
                self._open[line["n"]] = line
            elif (made := self._open.pop(line["n"], None)) and line["usd"] is None:
                self._held[made["call"]].add(made["usd"], 0 if "input" in line else made["tokens"])
        known, killed = self._held[id], [one for one in self._open.values() if one["call"] == id]
        return Amount(
            known.usd + sum(one["usd"] for one in killed), known.tokens + sum(one["tokens"] for one in killed)
        )


def sampled(answer: Mapping[str, Any], asked: Profile, enabled: Mapping[str, Profile], held: Amount) -> Sampled:
    """What an answer took, all its attempts together; seconds are those of the exchanges, without any queue.

    `asked` is the profile that is asked first: what a question holds in bytes is told as it goes there.
    """
    call, tokens = answer["call"], answer["tokens"]
    usd: float | None = held.usd
    usd_input, estimated = 0.0, 0
    for one in answer["attempts"]:
        if not (used := one["tokens"]):
            continue
        profile = enabled.get(one["profile"])
        price = profile.price if profile else None
        if price:
            usd_input += price.usd(used["input"], 0, used["cached"])
        if used["counted"]:
            now = price.usd(used["input"], used["output"], used["cached"]) if price else None
            now = one["usd"] if profile is None else now  # of a profile that is gone, as it was paid
            usd = None if now is None or usd is None else usd + now
        else:  # the books keep all that was reserved, and that holds these tokens
            estimated += used["input"] + used["output"]
            usd = usd if price else None
    return Sampled(
        calls.hash_of(call),
        sent(Question(call["messages"], call["answer_schema"]), asked).bytes,
        tokens["input"],
        tokens["output"],
        max(0, held.tokens - estimated),
        sum(float(one["seconds"]) for one in answer["attempts"]),
        answer["profile"],
        usd,
        min(usd_input, usd or 0.0),
        answer["error"]["kind"] if answer["error"] else "",
    )


class Asks(Protocol):
    """As much of agents._ask.Asker as a pilot needs."""

    def profile(self, role: str) -> str | None: ...

    def all(self, role: str, questions: Iterable[Question]) -> Iterator[tuple[int, dict[str, Any] | Unanswered]]: ...


@dataclass
class Listening:
    """Asks as a step does, and notes what each answer took."""

    asker: Asks
    kind: str
    asked: Profile
    enabled: Mapping[str, Profile]
    books: Books
    sample: Sample
    places: dict[int, Sampled] = field(default_factory=dict)

    def profile(self, role: str) -> str | None:
        return self.asker.profile(role)

    def all(self, role: str, questions: Iterable[Question]) -> Iterator[tuple[int, dict[str, Any] | Unanswered]]:
        listed = list(questions)
        first = 0 if role in self.sample.spoke else PROBES
        yield from self.part(role, listed[:first], 0)
        yield from self.part(role, listed[first:], len(listed[:first]))

    def part(
        self, role: str, questions: Sequence[Question], start: int
    ) -> Iterator[tuple[int, dict[str, Any] | Unanswered]]:
        """The answers to some questions, their places counted from `start`; a role that gives none is asked no more."""
        sample, asked, silent = self.sample, 0, ""

        def until_stopped() -> Iterator[Question]:
            nonlocal asked
            for one in questions:
                if sample.stopped:
                    return
                asked += 1
                sample.asked[self.kind] += 1
                yield one

        for place, answer in self.asker.all(role, until_stopped()):
            if isinstance(answer, Unanswered):
                sample.unanswered[self.kind] += 1
                sample.stopped = sample.stopped or (answer.message if answer.kind == "budget" else "")
                silent = silent or answer.message
            else:
                sample.spoke.add(role)
                self.note(start + place, answer)
            yield start + place, answer
        if silent and role not in sample.spoke and not sample.stopped:
            sample.stopped = f"{role}: {asked} of {asked} questions were not answered: {silent}"
        yield from ((start + place, Unanswered(SKIPPED, sample.stopped)) for place in range(asked, len(questions)))

    def note(self, place: int, answer: Mapping[str, Any]) -> None:
        held = self.books.held(calls.hash_of(answer["call"]))
        one = self.places[place] = sampled(answer, self.asked, self.enabled, held)
        self.sample.answers.setdefault(self.kind, []).append(one)
        if one.profile != self.asked.name:
            why = [each for each in answer["attempts"] if each["profile"] == self.asked.name and each["said"]]
            said = why[-1]["said"] if why else f"{self.asked.name}: left alone for a while, or without its key"
            self.sample.passed_over.setdefault(self.asked.name, said)
