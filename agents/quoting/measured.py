"""Rates from a pilot's answers, and many draws of them, which tell how sure the quote is.

What grows slower than the data set (different questions, families) is told from half of the sample and the whole of it
by Heaps' law; the rest are means and ratios. Draws are a bootstrap by chunk: answers about one chunk are alike.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import inf, log
from statistics import fmean
from typing import Any, TypeVar

from agents.asking import scenarios
from agents.exam.quality import same_question
from agents.quoting.pilot import Sample
from agents.quoting.plan import Amount, Plan
from agents.quoting.rates import COMPARED, JUDGED, PAIRS, SCENARIOS, Growth, Rates, Yield, prior
from agents.teacher.distil import Pair
from agents.teacher.mixture import mixed
from agents.teacher.prompts import KINDS

DRAWS = 400  # of the bootstrap: the ends of an interval of 90% then move by a tenth of its width
TRIM = 0.05  # of the draws beyond either end: an interval of 90%
HALVES = 8  # random halves of the sample that the growth is averaged over

Count = Callable[[Sequence[Pair]], int]
Families = Count  # how many exam wordings a sample of pairs gives
T = TypeVar("T")


def measured(plan: Plan, sample: Sample, base: Rates) -> Rates:
    """`base` with all that the sample tells in its place."""
    per_byte, output, seconds = dict(base.tokens_per_byte), dict(base.output), dict(base.seconds)
    foreign, cached = dict(base.foreign), dict(base.cached)
    for kind, found in sample.heard.items():
        size = sum(one.bytes for one in found)
        per_byte[kind] = sum(one.input for one in found) / size
        output[kind] = sum(one.output for one in found) / len(found)
        seconds[kind] = sum(one.seconds for one in found) / len(found)
        cached[kind] = sum(one.cached for one in found) / max(1, sum(one.input for one in found))
        if kind == JUDGED:  # what a pair puts into a question is seen, too
            foreign[kind] = size / len(found) - plan.known[kind].bytes
    if JUDGED in sample.heard:  # the same words by the same model
        per_byte[COMPARED] = per_byte[JUDGED]
    whole = sum(map(len, sample.pairs))  # a draw may hold more or fewer pairs
    held = sum(n for _, n in sample.chunks) / whole if whole else 1.0
    batches = base.batches
    if groups := plan.counts.get(SCENARIOS, 0) / scenarios.lacking([]):  # a pilot asks all of them
        batches = len(sample.heard.get(SCENARIOS, ())) / groups or batches
    return replace(
        base,
        tokens_per_byte=per_byte,
        output=output,
        seconds=seconds,
        foreign=foreign,
        cached=cached,
        new=base.new.times(held),
        apart=base.apart.times(held),
        batches=batches,
        measured=frozenset(sample.heard),
    )


def grows(sample: Sample, rates: Rates, families: Families, seed: int) -> Rates:
    """`rates` with what the sample tells of how many different pairs and exam wordings more prompts give."""
    whole = [own for own, (answers, _) in zip(sample.pairs, sample.chunks, strict=True) if len(answers) == len(KINDS)]
    every = [pair for own in whole for pair in own]
    if len(whole) < 2 or not every:
        return rates
    chance = random.Random(seed)
    halves = [chance.sample(whole, len(whole) // 2) for _ in range(HALVES)]

    def given(count: Count) -> Yield:
        def counted(chunks: Sequence[Sequence[Pair]]) -> int:
            return count([pair for own in chunks for pair in own])

        return Yield(growth(halves, whole, counted, len), half_told(whole, count))

    flat = [[pair for own in half for pair in own] for half in halves]
    exams = growth(flat, every, families, questions)
    return replace(rates, new=given(questions), apart=given(judgements), exams=exams)


def half_told(chunks: Sequence[Sequence[Pair]], count: Count) -> float:
    """The prompts that tell half of what a chunk holds (see Yield), from what two of the kinds give and all four."""
    two, four = 0.0, 0
    for own in chunks:
        pairs = [count([one for one in own if one.example["kind"] in some]) for some in combinations(KINDS, 2)]
        two, four = two + fmean(pairs), four + count(own)
    more = four / two if two else 2.0  # 2 where nothing is told twice, 1 where all is
    return 4 * (more - 1) / (2 - more) if more < 2 else inf


def growth(
    halves: Sequence[Sequence[T]],
    every: Sequence[T],
    count: Callable[[Sequence[T]], int],
    size: Callable[[Sequence[T]], int],
) -> Growth:
    """How a count grows with a size, from random halves to the whole: by a power of 0 to 1."""
    half, of = (sum(map(what, halves)) / len(halves) for what in (count, size))
    whole, seen = count(every), size(every)
    power = log(whole / half) / log(seen / of) if half and whole and seen > of > 0 else 1.0
    return Growth(whole / seen, float(seen), min(1.0, max(0.0, power)))


def questions(pairs: Sequence[Pair]) -> int:
    """How many different questions pairs ask."""
    return len({same_question(pair.example["question"]) for pair in pairs})


def judgements(pairs: Sequence[Pair]) -> int:
    """How many pairs a judge is asked about: one that was given twice is one question."""
    return len({(pair.key, str(pair.example["spans"])) for pair in pairs})


def drawn(sample: Sample, chance: random.Random) -> Sample:
    """A sample of the same size, drawn from it with replacement."""
    chunks = chance.choices(sample.chunks, k=len(sample.chunks)) if sample.chunks else []
    heard = {
        kind: chance.choices(found, k=len(found)) for kind, found in sample.heard.items() if kind != PAIRS and found
    }
    if chunks:
        heard[PAIRS] = [one for answers, _ in chunks for one in answers]
    return replace(sample, heard=heard, chunks=chunks)


def scenarios_of(plan: Plan, sample: Sample, families: Families) -> tuple[dict[str, Amount], list[dict[str, Amount]]]:
    """(the expected amounts, many draws of them) after a pilot; what it could not ask goes from low to high."""
    seed = plan.ahead.goal.seed
    base = grows(sample, prior(1), families, seed)
    expected = paid_as_seen(plan.amounts(measured(plan, sample, base)), plan, sample)
    chance, draws = random.Random(seed), []
    for _ in range(DRAWS):
        unknown = [prior(place) for place in (0, 1, 2)]
        guess = mixed_with(base, unknown, chance, sample)
        one = drawn(sample, chance)
        draws.append(paid_as_seen(plan.amounts(measured(plan, one, guess)), plan, one))
    return expected, draws


def mixed_with(base: Rates, ends: Sequence[Rates], chance: random.Random, sample: Sample) -> Rates:
    """`base` with what no pilot measures drawn between its low and its high end, most likely near the expected."""

    def among(values: Sequence[float]) -> float:
        low, middle, high = sorted(values)
        return chance.triangular(low, high, middle)

    def between(of: Callable[[Rates], float]) -> float:
        return among([of(one) for one in ends])

    def each(of: Callable[[Rates], Mapping[str, float]]) -> dict[str, float]:
        return {
            kind: value if kind in sample.heard else among([of(one)[kind] for one in ends])
            for kind, value in of(base).items()
        }

    made = replace(
        base,
        tokens_per_byte=each(lambda one: one.tokens_per_byte),
        output=each(lambda one: one.output),
        seconds=each(lambda one: one.seconds),
        foreign=each(lambda one: one.foreign),
        tool_rounds=between(lambda one: one.tool_rounds),
        long=between(lambda one: one.long),
    )
    return made if SCENARIOS in sample.heard else replace(made, batches=between(lambda one: one.batches))


def paid_as_seen(amounts: Mapping[str, Amount], plan: Plan, sample: Sample) -> dict[str, Amount]:
    """Amounts with dollars as they were paid, where they differ from the price: a fallback answered, or tried twice."""
    made = dict(amounts)
    for kind, found in sample.heard.items():
        price = plan.profile(kind).price
        listed = sum(price.usd(one.input, one.output, one.cached) for one in found) if price else 0.0
        paid = sum(one.usd for one in found if one.usd is not None)
        usd = made[kind].usd if kind in made else None
        if listed and usd is not None and all(one.usd is not None for one in found):
            made[kind] = replace(made[kind], usd=usd * paid / listed)
    return made


def exam_wordings(plan: Plan, there: Sequence[dict[str, Any]]) -> Families:
    """Counts the exam wordings that a sample of pairs gives beside the extractive examples `there`."""

    def count(pairs: Sequence[Pair]) -> int:
        made = mixed(there, pairs, len(pairs), plan.ahead.goal.seed, Counter())
        return sum(one["use"] == "exam" and "made" in one for one in made)

    return count
