"""The teacher's part of a pilot: what the run asks it first, wave by wave, as `agents/teacher/distil.py` has it.

How large a wave is depends on the pairs that the others gave: as long as whole waves have room in the pilot, they are
asked whole. Of the first that has none, some chunks are asked about, in all kinds and spread over all sorts of sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, TypeVar

from agents.exam.quality import same_question
from agents.quoting.ahead import Ahead
from agents.quoting.curve import NONE_SEEN, Seen
from agents.quoting.sample import Listening, Sampled
from agents.teacher.distil import ENOUGH, Teacher
from agents.teacher.mixture import mixed
from agents.teacher.pair import Pair
from agents.teacher.prompts import KINDS, PAIRS, Prompt
from agents.teacher.wording import rank

CHANCES = 1 << 32  # as many equal parts has what a hash draws
SURE = 0.5  # of the first wave of prompts, where tools may add sources, which push the rest behind it
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One prompt with its answer, None for none, and the pairs of it that hold."""

    prompt: Prompt
    answer: Sampled | None
    pairs: list[Pair]


@dataclass
class Desk:
    """As much of a step's job as a teacher needs."""

    models: Listening
    say: Callable[..., None]


@dataclass
class Waves:
    """Asks a teacher; `listening` makes who notes what the answers to one wave took. `seen` is of whole waves."""

    ahead: Ahead
    listening: Callable[[], Listening]
    say: Callable[..., None]
    seen: Seen = NONE_SEEN

    def ask(self, room: int) -> Iterator[Asked]:
        """Ask about `room` prompts, fewer where the run needs no more; an answer comes with its wave."""
        ahead, told = self.ahead, list[Pair]()
        feed = ahead.prompts[: len(KINDS) * len({one.chunk.key for one in ahead.prompts})]  # each chunk's first sample
        while room > 0 and self.seen.new < ENOUGH * ahead.wanted:
            wave = feed[self.seen.prompts :][: ceil((ahead.wanted - self.seen.new) / PAIRS)]
            whole = len(wave) <= room and not ahead.has_tools("collect")
            if not whole:
                wave = self.spread(wave[: ceil(SURE * len(wave))] if ahead.has_tools("collect") else wave, room)
            if not wave:
                return
            found = self.answered(wave)
            yield from found
            if not whole or any(one.answer is None for one in found):
                return
            told = fresh([*told, *(pair for one in found for pair in one.pairs)], frozenset())
            taught = mixed(ahead.cut, told, ahead.wanted, ahead.goal.seed).taught
            self.seen, room = Seen(self.seen.prompts + len(wave), taught), room - len(wave)

    def answered(self, wave: list[Prompt]) -> list[Asked]:
        self.say(f"asking teacher {len(wave)} times about chunks")
        listening = self.listening()
        teacher = Teacher(Desk(listening, self.say), self.ahead.texts, self.ahead.topic, ahead=False)
        found = teacher.asked(wave, self.seen.new)
        return [Asked(one, listening.places.get(at), found.get(at, [])) for at, one in enumerate(wave)]

    def spread(self, wave: Sequence[Prompt], room: int) -> list[Prompt]:
        """The prompts of a wave about some chunks, of each sort of source and each source as many as it has there."""
        groups = [group for group in by_chunk(wave) if len(group) == len(KINDS)]
        groups.sort(key=lambda group: self.place(group[0]))
        some = evenly(groups, ceil(room / len(KINDS)), self.ahead.goal.seed, "chunks")
        return [one for group in some for one in group]

    def place(self, prompt: Prompt) -> tuple[Any, ...]:
        source = prompt.chunk.source
        return self.ahead.sorts[source], source, len(prompt.chunk.text), prompt.chunk.key


def fresh(pairs: Iterable[Pair], known: frozenset[str]) -> list[Pair]:
    """The first pair of each question that is not known, as questions are compared: of these a judge is asked."""
    found: dict[str, Pair] = {}
    for pair in pairs:
        found.setdefault(same_question(pair.example["question"]), pair)
    return [pair for question, pair in found.items() if question not in known]


def known_by(examples: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(same_question(one["question"]) for one in examples)


def by_chunk(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Prompts in a row that are about the same chunk."""
    found: list[list[Prompt]] = []
    for one in prompts:
        if not found or found[-1][0].chunk != one.chunk:
            found.append([])
        found[-1].append(one)
    return found


def evenly(listed: Sequence[T], most: int, seed: int, what: str) -> list[T]:
    """Some of a list, evenly spread over its order from a seeded place on, so that each part has its share."""
    n, start = max(0, min(most, len(listed))), int(rank(seed, "pilot", what)[:8], 16) / CHANCES
    return [listed[int((place + start) * len(listed) / n)] for place in range(n)]
