"""Notice that nobody answers: a run waits for its endpoints as long as it takes, a person with a pilot does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agents.models.ledger import Tally
from agents.models.profile import Profile

SILENT_S = 60.0  # of failed attempts and none in flight: a call that no endpoint answers is tried again after 30
SAYS_NOTHING = frozenset({"server", "timeout", "connection", "malformed", "broken", "auth", "redirect"})


class Silent(Exception):
    """Nobody answers; one line that says who does not, and how that shows."""


class Silence:
    """Looks at a run's ledger again and again; an attempt in flight, or any answer, is a sign of life."""

    def __init__(self, path: Path, enabled: Mapping[str, Profile], clock: Callable[[], float] = time.monotonic) -> None:
        self._tally, self._enabled, self._clock = Tally(path), enabled, clock
        self._by: dict[int, str] = {}  # profile of an attempt in flight
        self._failed: dict[str, tuple[int, str]] = {}  # profile: attempts that failed in a row, and the last one's how
        self._since = clock()
        self._look()
        self._failed.clear()  # what failed before this command says nothing of now

    def check(self) -> None:
        """Raise Silent if all that was tried lately failed, and nothing is in flight."""
        if self._look() or self._by:
            self._since = self._clock()
        elif self._failed and self._clock() - self._since > SILENT_S:
            told = (
                f"{name} ({self._where(name)}): {n} attempts in a row failed, the last by {how!r}"
                for name, (n, how) in sorted(self._failed.items())
            )
            raise Silent("; ".join(told))

    def _look(self) -> bool:
        """Read what is new; True if an endpoint answered, were it that it is busy."""
        answered = False
        for line in self._tally.lines():
            if line["event"] == "reserve":
                self._by[line["n"]] = line["profile"]
            elif (name := self._by.pop(line["n"], "")) and (how := line.get("how", "")) in SAYS_NOTHING:
                self._failed[name] = (self._failed.get(name, (0, ""))[0] + 1, how)
            else:
                answered = True
                self._failed.clear()
        return answered

    def _where(self, name: str) -> str:
        return self._enabled[name].endpoint if name in self._enabled else "not enabled any more"
