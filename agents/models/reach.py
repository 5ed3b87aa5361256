"""Which endpoints give no answers just now, in words: what people are told while calls wait for them."""

from __future__ import annotations

import threading
from collections import Counter

from agents.models.endpoint import Failure
from agents.models.profile import Profile

IN_A_ROW = 3  # failures before people are told: one or two pass by themselves, and are tried again at once
SHOWN = 120  # characters of what a server says
NO_FAULT = frozenset({"busy", "request"})  # it answers, and is asked too much, or wrongly
WORDED_S = 30.0  # a wait of so long that a server asked for is told at once


class Reach:
    """The endpoints of a run as its calls find them; all methods may be called by many threads."""

    def __init__(self) -> None:
        self._changed = threading.Lock()
        self._failures: dict[str, tuple[int, str]] = {}  # profile: how many in a row, and the last in words
        self._answers: Counter[str] = Counter()

    def failed(self, profile: Profile, failure: Failure) -> None:
        """An attempt brought no answer."""
        long = (failure.retry_after_s or 0.0) >= WORDED_S
        if failure.kind in NO_FAULT and not long:
            return
        with self._changed:
            before, _ = self._failures.get(profile.name, (0, ""))
            self._failures[profile.name] = (before + (IN_A_ROW if long else 1), said(profile, failure))

    def answered(self, profile: Profile) -> None:
        """An attempt brought one, whatever that was worth."""
        with self._changed:
            self._answers[profile.name] += 1
            self._failures.pop(profile.name, None)

    def answers(self, name: str) -> int:
        """How many attempts at a profile were answered so far."""
        with self._changed:
            return self._answers[name]

    def down(self) -> dict[str, str]:
        """{profile: what is wrong}, of those that have failed too often in a row to be passed over."""
        with self._changed:
            return {name: what for name, (count, what) in sorted(self._failures.items()) if count >= IN_A_ROW}


def said(profile: Profile, failure: Failure) -> str:
    """`cannot reach http://127.0.0.1:8000/v1 (connection refused)`; a server that answers is quoted."""
    why = str(failure).removeprefix(f"{profile.name}: ")[:SHOWN]
    reached = failure.sent or failure.status is not None
    return f"{profile.endpoint} gives no answers ({why})" if reached else f"cannot reach {profile.endpoint} ({why})"
