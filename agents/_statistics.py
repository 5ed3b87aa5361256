"""Say whether two models differ, from the same items answered by both.

Exact match and token F1 follow the SQuAD evaluation (Rajpurkar et al., 2016), with two changes: nothing inside an
answer is dropped, because in technical answers `a`, `-1` and `<=` carry the meaning, and the F1 that the same answer
gets against other items' references is subtracted, so that common words earn nothing.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RESAMPLES = 4000  # the end of a 95% interval then moves by about 0.03 standard errors between two seeds
INTERVAL = 0.95
SHUFFLES = 20  # other references per answer: enough to know its chance F1 to about 0.02
MIN_MOVED = 6  # all of 5 groups moving the same way has p = 2 / 2**5 = 0.063 in a sign-flip test: no evidence at 5%
OPENING = "\"'`“‘([{"  # signs, dots and comparison marks stay: -1 is not 1, .5 is not 5
CLOSING = "\"'`”’([{)]}.,;:!?"  # so that f() is f
_WORD = re.compile(r"\w+")


def rng(seed: int, *names: str) -> random.Random:
    """A random source that depends on the seed and the names alone, on every machine."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def normalise(text: str) -> str:
    """Fold case and whitespace, strip punctuation and quotes around; what is only punctuation stays as it is."""
    folded = " ".join(text.casefold().split())
    bare = folded.lstrip(OPENING).rstrip(CLOSING).strip()
    return bare or folded


def exact(answer: str, reference: str) -> float:
    """1.0 where answer and reference are the same after `normalise`, else 0.0."""
    return float(normalise(answer) == normalise(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the words of both, counted with multiplicity; 0 to 1."""
    said, wanted = (Counter(_WORD.findall(normalise(text))) for text in (answer, reference))
    if not said or not wanted:
        return exact(answer, reference)
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total())


def others(reference: str, pool: Sequence[str], source: random.Random) -> list[str]:
    """Up to SHUFFLES references drawn from the pool, none of them equal to `reference` after `normalise`."""
    own = normalise(reference)
    different = [text for text in pool if normalise(text) != own]
    return source.sample(different, min(SHUFFLES, len(different)))


def adjusted_f1(answer: str, reference: str, shuffled: Sequence[str]) -> float:
    """Token F1 less the mean F1 of the same answer against `shuffled`; about 0 for an answer that knows nothing."""
    return token_f1(answer, reference) - mean([token_f1(answer, other) for other in shuffled])


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; raises ValueError for no values and for values that are not finite."""
    listed = list(values)
    if not listed or not all(math.isfinite(value) for value in listed):
        raise ValueError(f"no mean of {len(listed)} values of which some are not finite")
    return math.fsum(listed) / len(listed)


@dataclass(frozen=True)
class Comparison:
    """Means of two models over the same items, and the 95% interval of their difference (specialist less base)."""

    n: int
    moved: int  # groups whose items do not cancel out: the evidence there is
    base: float
    specialist: float
    difference: float
    low: float
    high: float


def compare(base: Sequence[float], specialist: Sequence[float], groups: Sequence[str], seed: int) -> Comparison:
    """Paired percentile bootstrap (Efron, 1979) over groups of items that stand or fall together.

    `groups` names the group of each item: two wordings of one fact are one piece of evidence. Raises ValueError for
    unequal lengths and for values that are not finite.
    """
    if not len(base) == len(specialist) == len(groups):
        raise ValueError(f"not paired: {len(base)} base, {len(specialist)} specialist, {len(groups)} groups")
    clusters: dict[str, list[float]] = {}
    for first, second, group in zip(base, specialist, groups, strict=True):
        clusters.setdefault(group, []).append(second - first)
    sums = [(math.fsum(differences), len(differences)) for differences in clusters.values()]
    low, high = interval(sums, seed)
    means = mean(base), mean(specialist)
    moved = sum(1 for total, _ in sums if total != 0)
    return Comparison(len(base), moved, *means, means[1] - means[0], low, high)


def interval(sums: Sequence[tuple[float, int]], seed: int) -> tuple[float, float]:
    """The central 95% of the mean over resampled groups; each group is (sum of its differences, how many)."""
    source = rng(seed, "bootstrap")
    if all(count == 1 for _, count in sums):  # the common case, twice as fast
        values = [total for total, _ in sums]
        draws = [sum(source.choices(values, k=len(values))) / len(values) for _ in range(RESAMPLES)]
    else:
        picked = (source.choices(sums, k=len(sums)) for _ in range(RESAMPLES))
        draws = [sum(total for total, _ in pick) / sum(count for _, count in pick) for pick in picked]
    draws.sort()
    cut = (1 - INTERVAL) / 2
    return draws[int(cut * RESAMPLES)], draws[math.ceil((1 - cut) * RESAMPLES) - 1]


def verdict(found: Comparison, lower_is_better: bool) -> tuple[str, str]:
    """(`better`, `worse` or `cannot tell`, the reason in one clause), about the specialist."""
    if found.moved == 0:
        return "cannot tell", "the two models do not differ on a single item"
    if found.low <= 0 <= found.high:
        return "cannot tell", "the 95% interval holds 0"
    if found.moved < MIN_MOVED:
        return "cannot tell", f"only {found.moved} of the items differ, too few to exclude chance"
    side = "above" if found.low > 0 else "below"
    word = "better" if (found.low > 0) != lower_is_better else "worse"
    return word, f"the 95% interval lies {side} 0" + (", and a lower loss is better" if lower_is_better else "")
