"""Adaptive concurrency of one model profile, shared by all threads that ask it; the law itself is in aimd.py."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from agents.models.aimd import How, Law, Ticket

LOOK_S = 0.25  # how soon a waiting thread notices that it should stop


class Pace:
    """Lets threads in as fast as a server takes them; thread-safe. A thread that entered must leave, once.

    `most`: requests at once, whatever the server takes. `clock`: seconds, steady. `random`: a number below 1.
    """

    def __init__(
        self, most: int, *, clock: Callable[[], float] = time.monotonic, random: Callable[[], float] = random.random
    ) -> None:
        self._law, self._clock = Law(most, random), clock
        self._changed = threading.Condition()
        self._door = threading.Lock()  # one thread waits for its turn; the others wait for the door, and wake nobody
        self._mine = threading.local()

    @property
    def limit(self) -> float:
        """How many requests may be in flight now."""
        return self._law.limit

    @property
    def rate(self) -> float:
        """How many requests may enter each second; inf as long as only their number at once has mattered."""
        return self._law.rate

    @property
    def inflight(self) -> int:
        return self._law.inflight

    def enter(self, stopping: threading.Event, through_cooldown: bool = True) -> bool:
        """Wait for a slot, and out a Retry-After or cooldown; False when stopping.

        Without `through_cooldown` also False as soon as the profile cools down, so that the caller can ask another.
        """
        while not self._door.acquire(timeout=LOOK_S):
            if self._goes_away(stopping, through_cooldown):
                return False
        try:
            with self._changed:
                while not self._goes_away(stopping, through_cooldown):
                    taken = self._law.take(self._clock())
                    if isinstance(taken, Ticket):
                        self._mine.ticket = taken
                        return True
                    self._changed.wait(min(taken, LOOK_S))
                return False
        finally:
            self._door.release()

    def _goes_away(self, stopping: threading.Event, through_cooldown: bool) -> bool:
        return stopping.is_set() or (not through_cooldown and self._law.cooling_s(self._clock()) > 0)

    def leave(self, how: How, retry_after_s: float | None = None) -> None:
        """Say how it went: ok (also an answer that cannot be used), busy (429), failed (5xx, time-out, no connection).

        Or unsent: the server was not asked after all. RuntimeError in a thread that did not enter.
        """
        ticket = getattr(self._mine, "ticket", None)
        if ticket is None:
            raise RuntimeError("leave() without enter() in this thread")
        self._mine.ticket = None
        with self._changed:
            self._law.left(self._clock(), ticket, how, retry_after_s)
            self._changed.notify_all()  # at most one waits: the one at the door

    def cooling_s(self) -> float:
        """Seconds for which callers should go to their fallback; 0 if the profile may be tried."""
        with self._changed:
            return self._law.cooling_s(self._clock())
