"""How finds accumulate as more prompts are asked about more chunks, and how many prompts give what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import ceil, inf, sqrt
from typing import NamedTuple

from agents.teacher.distil import ENOUGH
from agents.teacher.prompts import KINDS, PAIRS

SHAPE = 2  # of the gamma distribution: 1 is Clench's curve, more comes near to drawing what a chunk holds by chance


class Growth(NamedTuple):
    """How a count grows with a size: `share` of it at `seen`, by the power law from there (Heaps, 1978)."""

    share: float = 1.0
    seen: float = 1.0
    power: float = 1.0

    def at(self, size: float) -> float:
        return self.share * size * (size / self.seen) ** (self.power - 1) if size > 0 else 0.0


class Yield(NamedTuple):
    """What prompts about chunks give: `chunks` by how many chunks there are, asked about in all kinds once.

    Of one chunk, k prompts tell 1 - (1 + k / far) ** -2 of what it holds: some of that is told more easily than the
    rest, by a gamma distribution of shape 2 (Efron and Thisted, 1976). `far` inf: a chunk that never ends.
    """

    chunks: Growth
    far: float = inf

    def at(self, prompts: float, chunks: int) -> float:
        """How many different ones so many prompts give, about `chunks` chunks in turn."""
        touched = min(float(chunks), prompts / len(KINDS))
        if touched <= 0:
            return 0.0
        return self.chunks.at(touched) * told(prompts / touched, self.far) / told(len(KINDS), self.far)

    def later(self, factor: float) -> Yield:
        """The same where a chunk is told out so many times later."""
        return self._replace(far=self.far * factor)

    def times(self, factor: float) -> Yield:
        return self._replace(chunks=self.chunks._replace(share=self.chunks.share * factor))


def told(prompts: float, far: float) -> float:
    """The share of a chunk that so many prompts tell; of one that never ends, so many shares."""
    return prompts if far == inf else 1 - (1 + prompts / far) ** -SHAPE


def how_far(more: float) -> float:
    """The `far` of chunks of which all kinds of prompts tell so many times as much as one of them, by bisection."""
    low, high = 1e-3, 1e3
    if more >= told(len(KINDS), high) / told(1, high):
        return inf
    for _ in range(40):  # halvings of the logarithm: to a millionth
        middle = sqrt(low * high)
        low, high = (low, middle) if told(len(KINDS), middle) / told(1, middle) > more else (middle, high)
    return low


class Seen(NamedTuple):
    """Prompts that a pilot asked just as the run does, from the first on, and the different questions they gave."""

    prompts: int = 0
    new: int = 0


NONE_SEEN = Seen()


class Curve:
    """A yield along the chunks as they are asked about: `order` is the sort of each one's source."""

    def __init__(self, told: Yield, order: Sequence[str], rich: Mapping[str, float], seen: Seen = NONE_SEEN) -> None:
        self._told, self._seen = told, seen
        self._rich = [0.0, *accumulate(rich.get(sort, 1.0) for sort in order)]

    def at(self, prompts: float) -> float:
        """How many different ones so many prompts give, of which those that were seen are known."""
        return self._seen.new + self._at(prompts) - self._at(self._seen.prompts)

    def _at(self, prompts: float) -> float:
        chunks = len(self._rich) - 1
        touched = min(float(chunks), prompts / len(KINDS))
        if touched <= 0:
            return 0.0
        last = min(chunks, int(touched) + 1)
        share = touched - int(touched)
        rich = (1 - share) * self._rich[int(touched)] + share * self._rich[last]
        return self._told.at(prompts, chunks) * rich / touched

    def prompts(self, wanted: int, there: int) -> int:
        """How many of the prompts there are asked until enough is found, wave by wave, as agents/teacher/distil.py."""
        done = self._seen.prompts
        while done < there and (found := self.at(done)) < ENOUGH * wanted:
            done = min(there, done + max(1, ceil((wanted - found) / PAIRS)))
        return done
