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
from math import exp, inf, log, sqrt
from statistics import fmean
from typing import Any, TypeVar

from agents.asking import scenarios
from agents.exam.quality import same_question
from agents.quoting.plan import ROLE, Amount, Plan
from agents.quoting.rates import (
    COMPARED,
    JUDGED,
    MAP,
    PAIRS,
    SCENARIOS,
    STUDY,
    Examined,
    Growth,
    Price,
    Rates,
    Yield,
    prior,
)
from agents.quoting.sample import Sample, Sampled, total
from agents.teacher.distil import Pair
from agents.teacher.mixture import mixed
from agents.teacher.prompts import KINDS

DRAWS = 400  # of the bootstrap: the ends of an interval of 90% then move by a tenth of its width
TRIM = 0.05  # of the draws beyond either end: an interval of 90%
TIMES = 20  # a chunk of weight 1 is repeated, so that weights are told to a twentieth
SPLITS = 4  # of the sample into halves, by chance, that the growth is averaged over
SEEN = frozenset({MAP, STUDY, SCENARIOS, JUDGED})  # kinds of which a pilot also sees what earlier answers put into them
SOON, COUNT = 0.4, 0.06  # what pilots were wrong by beside chance: how soon a chunk is told out, how much is judged

Count = Callable[[Sequence[Pair]], int]
Families = Count  # how many exam wordings a sample of pairs gives
T = TypeVar("T")


def measured(plan: Plan, sample: Sample, base: Rates) -> Rates:
    """`base` with all that the sample tells in its place."""
    per_byte, output, seconds = dict(base.tokens_per_byte), dict(base.output), dict(base.seconds)
    foreign, held, paid = dict(base.foreign), dict(base.held), dict(base.paid)
    for kind, found in sample.answers.items():
        size = sum(one.bytes for one in found)
        per_byte[kind] = sum(one.input for one in found) / size
        output[kind] = fmean(one.output for one in found)
        seconds[kind] = fmean(one.seconds for one in found)
        held[kind] = fmean(one.held for one in found)
        paid[kind] = price(found)
        if kind in SEEN:
            foreign[kind] = size / len(found) - plan.known[kind].bytes
    if JUDGED in sample.answers and COMPARED not in sample.answers:  # the same words by the same model
        per_byte[COMPARED] = per_byte[JUDGED]
    held_pairs = [n for _, n in sample.chunks]  # of a draw: more or fewer than the sample's own
    share = fmean(held_pairs) / fmean(map(len, sample.pairs)) if any(map(len, sample.pairs)) else 1.0
    batches = base.batches
    if groups := plan.counts.get(SCENARIOS, 0) / scenarios.lacking([]):  # a pilot asks all of them
        batches = len(sample.answers.get(SCENARIOS, ())) / groups or batches
    return replace(
        base,
        tokens_per_byte=per_byte,
        output=output,
        seconds=seconds,
        foreign=foreign,
        new=base.new.times(share),
        apart=base.apart.times(share),
        made=base.made if sample.made is None else sample.made,
        batches=batches,
        measured=frozenset(sample.answers),
        paid=paid,
        held=held,
        by=answering(plan, sample),
        beside=len(sample.answers.get(COMPARED, ())),
    )


def price(found: Sequence[Sampled]) -> Price | None:
    """Dollars as they were paid, whoever answered; None where nobody knows them."""
    paid, asked = total(found), sum(one.usd_input for one in found)
    if paid is None:
        return None
    return Price(asked / max(1, sum(one.input for one in found)), (paid - asked) / len(found))


def answering(plan: Plan, sample: Sample) -> dict[str, str]:
    """{kind: the profile that will answer it} by the pilot: the one that answered its role most often."""
    spoke = {role: Counter[str]() for role in plan.who}
    for kind, found in sample.answers.items():
        spoke[ROLE[kind]].update(one.profile for one in found if one.profile in plan.enabled)
    return {kind: spoke[ROLE[kind]].most_common(1)[0][0] for kind in plan.kinds if spoke[ROLE[kind]]}


def grows(sample: Sample, rates: Rates, families: Families, seed: int) -> Rates:
    """`rates` with what the sample tells of how many different pairs and exam wordings more prompts give."""
    whole = [own for own, (answers, _) in zip(sample.pairs, sample.chunks, strict=True) if len(answers) == len(KINDS)]
    every = [pair for own in whole for pair in own]
    if len(whole) < 2 or not every:
        return rates
    chance = random.Random(seed)
    halves = [half for _ in range(SPLITS) for half in halved(whole, chance)]

    def given(count: Count) -> Yield:
        def counted(chunks: Sequence[Sequence[Pair]]) -> int:
            return count([pair for own in chunks for pair in own])

        return Yield(growth(halves, whole, counted, len), half_told(whole, count))

    flat = [[pair for own in half for pair in own] for half in halves]
    exams = growth(flat, every, families, questions)
    return replace(rates, new=given(questions), apart=given(judgements), exams=exams)


def halved(listed: Sequence[T], chance: random.Random) -> tuple[list[T], list[T]]:
    """A list in two halves by chance: together they hold all, so that no rich chunk is counted twice or never."""
    mixed_up = chance.sample(listed, len(listed))
    return mixed_up[: len(listed) // 2], mixed_up[len(listed) // 2 :]


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


def drawn(sample: Sample, chance: random.Random, whole: frozenset[str]) -> Sample:
    """A sample of the same size, drawn from it with replacement; the kinds in `whole` were asked all, and stay."""
    chunks = chance.choices(sample.chunks, sample.weights, k=len(sample.chunks)) if sample.chunks else []
    answers = {
        kind: found if kind in whole else chance.choices(found, k=len(found))
        for kind, found in sample.answers.items()
        if kind != PAIRS
    }
    if PAIRS in sample.answers:
        answers[PAIRS] = [one for own, _ in chunks for one in own] or sample.answers[PAIRS]
    return replace(sample, answers=answers, chunks=chunks)


def scenarios_of(plan: Plan, sample: Sample, families: Families) -> tuple[dict[str, Amount], list[dict[str, Amount]]]:
    """(the expected amounts, many draws of them) after a pilot; what it could not ask goes from low to high."""
    seed = plan.ahead.goal.seed
    base = grows(sample, prior(1), families, seed)
    asked = next(iter(plan.taught(measured(plan, sample, base))[0]), 0)
    sample = weighted(plan, sample, asked)
    expected = plan.amounts(measured(plan, balanced(sample), base))
    chance, draws = random.Random(seed), []
    ends = [prior(place) for place in (0, 1, 2)]
    whole = frozenset({MAP, STUDY, SCENARIOS} if plan.rounds == 1 else ())
    for _ in range(DRAWS):
        rates = measured(plan, drawn(sample, chance, whole), mixed_with(base, ends, chance, sample))
        long = plan.long(rates)[0] if COMPARED in plan.kinds else 0.0
        luck = 1 + chance.gauss() / sqrt(long) if long else 1.0  # of which questions have long answers
        draws.append(plan.amounts(replace(rates, differ=rates.differ * max(0.0, luck))))
    return expected, draws


def weighted(plan: Plan, sample: Sample, asked: int) -> Sample:
    """The sample with a weight for each chunk: what share its sort of source has among the chunks of `asked` prompts.

    Sources differ, and the first topics in turn do not hold them as all do (post-stratification).
    """
    sorts = plan.ahead.sorts
    there = {one.chunk.key: sorts[one.chunk.source] for one in plan.ahead.prompts[:asked]}
    all, own = Counter(there.values()), Counter(sample.sorts)
    return replace(sample, weights=[max(all[sort], 1) / own[sort] for sort in sample.sorts])


def balanced(sample: Sample) -> Sample:
    """The sample with each chunk in it as often as its weight says."""
    if not sample.chunks:
        return sample
    places = [place for place, weight in enumerate(sample.weights) for _ in range(round(TIMES * weight))]
    chunks = [sample.chunks[place] for place in places]
    return replace(sample, chunks=chunks, answers=sample.answers | {PAIRS: [one for own, _ in chunks for one in own]})


def mixed_with(base: Rates, ends: Sequence[Rates], chance: random.Random, sample: Sample) -> Rates:
    """`base` with what no pilot measures drawn between its low and its high end, most likely near the expected."""

    def among(values: Sequence[float]) -> float:
        low, middle, high = sorted(values)
        return chance.triangular(low, high, middle)

    def between(of: Callable[[Rates], float]) -> float:
        return among([of(one) for one in ends])

    def each(of: Callable[[Rates], Mapping[str, float]], known: frozenset[str]) -> dict[str, float]:
        return {
            kind: value if kind in known else among([of(one)[kind] for one in ends]) for kind, value in of(base).items()
        }

    heard = frozenset(sample.answers)
    made = replace(
        base,
        tokens_per_byte=each(lambda one: one.tokens_per_byte, heard),
        output=each(lambda one: one.output, heard),
        seconds=each(lambda one: one.seconds, heard),
        foreign=each(lambda one: one.foreign, heard - {COMPARED}),
        tool_rounds=between(lambda one: one.tool_rounds),
        differ=between(lambda one: one.differ),
        new=base.new.later(soon := exp(chance.gauss(0, SOON))),
        apart=base.apart.later(soon).times(exp(chance.gauss(0, COUNT))),
        exams=base.exams._replace(share=base.exams.share * exp(chance.gauss(0, COUNT))),
    )
    if sample.made is None:
        made = replace(made, made=Examined(*map(among, zip(*(one.made for one in ends), strict=True))))
    return made if SCENARIOS in heard else replace(made, batches=between(lambda one: one.batches))


def exam_wordings(plan: Plan, there: Sequence[dict[str, Any]]) -> Families:
    """Counts the exam wordings that a sample of pairs gives beside the extractive examples `there`."""

    def count(pairs: Sequence[Pair]) -> int:
        made = mixed(there, pairs, len(pairs), plan.ahead.goal.seed, Counter())
        return sum(one["use"] == "exam" and "made" in one for one in made)

    return count
