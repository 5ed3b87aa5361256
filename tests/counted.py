"""How many functions some work calls: what it costs, whatever else this machine does, since no test asserts a time."""

from __future__ import annotations

import sys
from collections.abc import Callable


def steps(work: Callable[[], object]) -> int:
    """How many functions of Python are called, and generators resumed, while `work` is done."""
    count = [0]

    def note(frame: object, event: str, argument: object) -> None:
        count[0] += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count[0]
