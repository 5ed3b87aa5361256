"""What a plan is made of: terms in bytes, and figures that are known only from low to worst."""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """A figure as a plan gives it: what it can hardly be under, what it should be, and what to be ready for."""

    low: float
    expected: float
    worst: float

    def __mul__(self, factor: float) -> Range:  # type: ignore[override]  # of a tuple, repetition is never meant
        return Range(*(one * factor for one in self))


class Term(NamedTuple):
    """One part of the memory at its peak, in bytes, and what it comes from."""

    name: str
    bytes: float
    of: str


class Peak(NamedTuple):
    """The parts that are there at the peak; `low` and `worst` are what they add up to at best and at worst."""

    terms: tuple[Term, ...]
    low: float
    worst: float

    @property
    def range(self) -> Range:
        expected = sum(term.bytes for term in self.terms)
        return Range(min(self.low, expected), expected, max(self.worst, expected))
