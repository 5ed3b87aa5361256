"""The model of a mailbox: what section 5 of the protocol says, over plain values, with no file and no lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LIMIT, DEATHS = 3, 5  # failures that a request may have; deaths in a row that kept nothing new
FREE = ("disk", "stopped", "repaired")  # failures that do not count
FAILED = "failed"


@dataclass
class Try:
    """One try: how it ended (a try that goes on looks like a death), and how much was kept when it began."""

    kind: str
    before: int


@dataclass
class Request:
    """One ID in one mailbox. `asked`, `replied` and `leftover` are documents."""

    asked: Any = None
    replied: Any = None
    dead: bool = False
    holder: Any = None  # the claim that holds its lock
    begun: Try | None = None  # the try of a step's holder
    marked: bool = False  # a service's request that was claimed and not given back
    kept: set[str] = field(default_factory=set)
    tries: list[Try] = field(default_factory=list)
    since: int = 0  # tries before this one were forgiven

    def state(self, held: bool) -> str | None:
        """First match wins."""
        if self.replied is not None:
            return "done"
        if self.dead:
            return "dead"
        if self.asked is None:
            return None
        if self.holder is not None:
            return "running"
        if held:
            return "held"
        return FAILED if any(one.kind not in ("stopped", "repaired") for one in self.tries[self.since :]) else "waiting"

    def put(self, document: Any) -> str:
        """new, same or conflict."""
        there = self.replied if self.replied is not None else self.asked
        if there is None:
            self.asked, self.marked = document, False
            return "new"
        return "same" if there == document else "conflict"

    def exhausted(self) -> bool:
        history, deaths, after = self.tries[self.since :], 0, len(self.kept)
        if sum(one.kind not in (*FREE, "death") for one in history) >= LIMIT:
            return True
        for one in reversed(history):
            if after != one.before or one.kind not in ("death", *FREE):
                break
            deaths += one.kind == "death"
            after = one.before
        return deaths >= DEATHS

    def claim(self, held: bool, service: bool) -> bool:
        """Whether a claim is given; what a refused one changes is changed."""
        if self.asked is None or self.holder is not None or held:
            return False
        if self.replied is not None:  # its agent was killed between the reply and the end of the request
            self.clean()
            return False
        if self.dead:
            return False
        if service and self.marked:
            self.tries.append(Try("death", 0))
        self.marked = service
        if self.exhausted():
            self.dead, self.marked = True, False
            return False
        return True

    def begin(self) -> None:
        self.begun = Try("death", len(self.kept))
        self.tries.append(self.begun)

    def fail(self, kind: str) -> None:
        if self.begun is None:
            self.begin()
        assert self.begun is not None
        self.begun.kind = kind
        self.dead = self.dead or self.exhausted()
        self.release()

    def release(self) -> None:
        self.holder, self.begun, self.marked = None, None, False

    def die(self) -> None:
        """The lock falls; what the dead holder left says that it died."""
        self.holder, self.begun = None, None

    def commit(self) -> None:
        self.replied = self.asked
        self.clean()

    def clean(self) -> None:
        """After a reply: the request goes, and all that its tries left."""
        self.asked, self.tries, self.kept, self.since = None, [], set(), 0
        self.release()

    def withdraw(self, held: bool, service: bool) -> None:
        if self.claim(held, service):
            self.asked, self.marked = None, False

    def revive(self) -> bool:
        """Fresh tries; False if it is not dead."""
        if not self.dead:
            return False
        self.dead, self.since = False, len(self.tries)
        return True
