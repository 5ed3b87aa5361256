"""One line of the table that `make crash` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A promise, what was tried against it (with figures), and how it was broken; "" where it held."""

    promise: str
    tried: str
    broken: str = ""
