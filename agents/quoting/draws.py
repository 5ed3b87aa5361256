"""What a run comes to by its pilot, and many draws of that, which tell how sure it is.

The draws are a bootstrap by chunk, since answers about one chunk are alike; what no pilot asks goes from low to high.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import exp, sqrt
from statistics import fmean

from agents.quoting.exam import examined
from agents.quoting.measured import grows, measured, whole
from agents.quoting.plan import Amount, Plan
from agents.quoting.rates import COMPARED, MAP, PAIRS, SCENARIOS, STUDY, Examined, Rates, prior
from agents.quoting.sample import Sample, total

DRAWS = 400  # of the bootstrap: the ends of an interval of 90% then move by a tenth of its width
TRIM = 0.05  # of the draws beyond either end: an interval of 90%
SOON, MORE, COUNT = 0.4, 0.2, 0.06  # of logarithms: what pilots were wrong by beside chance, in how soon a chunk is
# told out, in how many pairs the other chunks give, in how many of these are judged
BACK = 0.2  # of the draws: a profile that others stood in for in the pilot answers all that the run asks
TIMES = 20  # a chunk of weight 1 is repeated, so that weights are told to a twentieth

Scenario = dict[str, Amount]  # by kind


def by_pilot(plan: Plan, sample: Sample) -> tuple[Scenario, list[Scenario]]:
    """(the expected amounts, many draws of them) after a pilot."""
    seed, ends = plan.ahead.goal.seed, [prior(place) for place in (0, 1, 2)]
    base, mean = grows(sample, ends[1], plan.ahead.cut if sample.pairs else [], seed), mean_pairs(sample)
    (asked, _), *_ = plan.taught(measured(plan, sample, base, mean)) or [(0, 0.0)]
    sample = weighted(plan, sample, asked)
    base = replace(base, rich=measured(plan, sample, base, mean).rich)  # for a draw that has none of a sort
    if COMPARED in plan.kinds:
        base = with_exam(plan, sample, base, mean)
    expected = plan.amounts(measured(plan, balanced(sample), base, mean))
    chance, draws = random.Random(seed), []
    all_asked = frozenset({MAP, STUDY, SCENARIOS} if plan.rounds == 1 else ())
    for _ in range(DRAWS):
        rates = measured(plan, drawn(sample, chance, all_asked), mixed_with(base, ends, chance, sample), mean)
        long = plan.long(rates)[0] if COMPARED in plan.kinds else 0.0
        luck = 1 + chance.gauss() / sqrt(long) if long else 1.0  # of which questions have long answers
        amounts = plan.amounts(replace(rates, differ=rates.differ * max(0.0, luck)))
        draws.append(as_first_asked(plan, sample, amounts) if chance.random() < BACK else amounts)
    return expected, draws


def as_first_asked(plan: Plan, sample: Sample, amounts: Scenario) -> Scenario:
    """Amounts where the profile that is asked first answers all that the pilot did not ask, at its price."""
    made = dict(amounts)
    for kind, found in sample.answers.items():
        profile, one = plan.profile(kind), amounts.get(kind)
        if one and any(each.profile != profile.name for each in found):
            left, paid = max(0.0, 1 - len(found) / one.calls) if one.calls else 0.0, total(found)
            price = profile.price
            listed = left * (price.usd(1, 0) * one.input + price.usd(0, 1) * one.output) if price else None
            made[kind] = replace(one, usd=None if listed is None or paid is None else paid + listed)
    return made


def with_exam(plan: Plan, sample: Sample, base: Rates, mean: float) -> Rates:
    """`base` with what the pilot's pairs add to the exam, and the plan with what is cut beside them."""
    (_, given), *_ = plan.taught(measured(plan, balanced(sample), base, mean)) or [(0, 0.0)]
    plan.exam, made = examined(plan.ahead, plan.ahead.beside(given), sample.pairs, sample.kept)
    return replace(base, made=made or base.made)


def weighted(plan: Plan, sample: Sample, asked: int) -> Sample:
    """The sample with a weight for each chunk: what share its sort of source has among the chunks of `asked` prompts.

    Sources differ, and the first topics in turn do not hold them as all do (post-stratification).
    """
    sorts = plan.ahead.sorts
    there = {one.chunk.key: sorts[one.chunk.source] for one in plan.ahead.prompts[:asked]}
    all, own = Counter(there.values()), Counter(one.sort for one in sample.chunks)
    return replace(sample, weights=[max(all[one.sort], 1) / own[one.sort] for one in sample.chunks])


def mean_pairs(sample: Sample) -> float:
    """Pairs of a chunk that was asked about in all kinds."""
    found = [len(one.pairs) for one in whole(sample.chunks)]
    return fmean(found) if found else 0.0


def balanced(sample: Sample) -> Sample:
    """The sample with each chunk in it as often as its weight says."""
    if not sample.chunks:
        return sample
    places = [place for place, weight in enumerate(sample.weights) for _ in range(round(TIMES * weight))]
    chunks = [sample.chunks[place] for place in places]
    return replace(
        sample, chunks=chunks, answers=sample.answers | {PAIRS: [one for own in chunks for one in own.answers]}
    )


def drawn(sample: Sample, chance: random.Random, whole: frozenset[str]) -> Sample:
    """A sample of the same size, drawn from it with replacement; the kinds in `whole` were asked all, and stay."""
    chunks = chance.choices(sample.chunks, sample.weights, k=len(sample.chunks)) if sample.chunks else []
    answers = {
        kind: found if kind in whole else chance.choices(found, k=len(found))
        for kind, found in sample.answers.items()
        if kind != PAIRS
    }
    if PAIRS in sample.answers:
        answers[PAIRS] = [one for own in chunks for one in own.answers] or sample.answers[PAIRS]
    return replace(sample, answers=answers, chunks=chunks)


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
        new=base.new.later(soon := exp(chance.gauss(0, SOON))).times(more := exp(chance.gauss(0, MORE))),
        apart=base.apart.later(soon).times(more * exp(chance.gauss(0, COUNT))),
        exams=base.exams._replace(share=base.exams.share * exp(chance.gauss(0, COUNT))),
    )
    if base.made == ends[1].made:  # no pair of a teacher tells
        made = replace(made, made=Examined(*map(among, zip(*(one.made for one in ends), strict=True))))
    return made if SCENARIOS in heard else replace(made, batches=between(lambda one: one.batches))
