"""What model calls cost: reserved before a call is sent, settled after, so that no budget is ever overspent.

llm/ledger.jsonl has one line for each: `reserve` with the most that an attempt can cost, on disk before the request is
sent; then `settle` with what it did cost. A reservation that nobody settled (its process was killed) stays spent. The
`llm` agent is the file's one writer, by the file's own lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.models.endpoint import Tokens
from agents.models.profile import Price
from bus import files, locks

NAME = "ledger.jsonl"
EXTRA_TOKENS = 256  # that a chat template adds to the words of a question, and more than any known one does
EXTRA_PER_MESSAGE = 16
NOTHING = Tokens(0, 0, 0, True)  # of what was never worked on


class Taken(Exception):
    """Another `llm` agent writes this ledger."""


class BudgetGone(Exception):
    """A call that does not fit its budget; one line that names which budget, what is spent of it, what to do."""


@dataclass
class Amount:
    """Dollars and tokens, spent or reserved."""

    usd: float = 0.0
    tokens: int = 0

    def add(self, usd: float, tokens: int) -> None:
        self.usd += usd
        self.tokens += tokens


@dataclass(frozen=True)
class Limits:
    """The budgets that calls must fit: of the run, of each step, of each call, as {"usd": …, "tokens": …}."""

    run: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    call: Mapping[str, float] = field(default_factory=dict)
    raise_it: str = "raise it in config/infra.yaml"

    @property
    def dollars(self) -> bool:
        """True while any dollar budget stands: then no call may be made whose price nobody knows."""
        return any("usd" in one for one in (self.run, self.call, *self.steps.values()))


@dataclass(frozen=True)
class Reservation:
    """The most that one attempt can cost, taken out of the budgets until it is settled."""

    number: int
    call: str
    step: str
    usd: float
    tokens: int


class Ledger:
    """The open books of one run; all methods may be called by many threads."""

    def __init__(self, folder: Path, limits: Limits, other_usd: Callable[[str], float] = lambda step: 0.0) -> None:
        self.path, self.limits, self._other_usd = folder / NAME, limits, other_usd
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o644)
        if not locks.take(self._descriptor):
            os.close(self._descriptor)
            raise Taken(f"{self.path}: another llm agent serves this run")
        self._changed = threading.Condition()
        self._syncing = threading.Lock()
        self._written = self._synced = self._lost = 0  # the last reservation in the file, on disk, and not on disk
        self._spent: dict[str, Amount] = defaultdict(Amount)  # by step, and "" for the run
        self._open: dict[int, Reservation] = {}
        tally = Tally(self.path)
        tally.look()
        self._number = tally.last
        for step, amount in tally.steps.items():
            self._spend(step, amount.usd, amount.tokens)
        for lost in tally.open.values():  # of a process that was killed: it may be billed
            self._spend(lost["step"], lost["usd"], lost["tokens"])
        self._torn = not _ends_whole(self._descriptor)  # the file ends in a piece of a line

    def close(self) -> None:
        os.close(self._descriptor)

    def reserve(
        self,
        call: str,
        step: str,
        profile: str,
        price: Price | None,
        most: tuple[int, int],
        stopping: Callable[[], bool] = lambda: False,
    ) -> Reservation | None:
        """Take the most that an attempt can cost, `most` tokens (in, out), out of every budget; raises BudgetGone.

        While other attempts hold what is missing, it waits for them to settle; None once `stopping`.
        """
        usd, tokens = (price.most(*most) if price else 0.0), sum(most)
        with self._changed:
            while gone := self._lacking(step, usd, tokens):
                if not self._open or gone.startswith("budget: call"):
                    raise BudgetGone(gone)
                if stopping():
                    return None
                self._changed.wait(0.5)
            self._number += 1
            made = Reservation(self._number, call, step, usd, tokens)
            line = {"n": made.number, "event": "reserve", "call": call, "step": step, "profile": profile}
            self._write(files.canonical({**line, "usd": usd, "tokens": tokens}))
            self._open[made.number], self._written = made, made.number
        with contextlib.ExitStack() as otherwise:  # it is not sent, and must not keep others waiting for its money
            otherwise.callback(self.settle, made, NOTHING, 0.0)
            self._sync(made.number)
            otherwise.pop_all()
        return made

    def settle(self, made: Reservation, tokens: Tokens | None, usd: float | None, how: str = "") -> None:
        """Say what an attempt cost, and `how` it ended.

        `tokens` NOTHING, with no dollars: it never reached the server, or was refused before any work. None: it was
        not answered but may be billed, and stays reserved in full. `usd` None: nobody knows its price, or the server
        did not count; its reservation stays spent. It does so, too, where the disk takes no line: then the next
        reservation fails, and the answer that was paid for is kept.
        """
        used = tokens.input + tokens.output if tokens else made.tokens
        line: dict[str, Any] = {"n": made.number, "event": "settle", "call": made.call, "usd": usd, "tokens": used}
        line |= {"how": how} if how else {}
        if tokens:
            line |= {"input": tokens.input, "output": tokens.output, "cached": tokens.cached, "counted": tokens.counted}
        data = files.canonical(line)
        with self._changed:
            del self._open[made.number]
            try:
                self._write(data)
            except OSError:
                usd, used = None, made.tokens
            self._spend(made.step, made.usd if usd is None else usd, used)
            self._changed.notify_all()

    def spent(self, step: str = "") -> Amount:
        """What is spent and reserved of a step, or of the run."""
        with self._changed:
            amount = Amount(self._spent[step].usd, self._spent[step].tokens)
            for one in self._open.values():
                if step in ("", one.step):
                    amount.add(one.usd, one.tokens)
            return amount

    def _lacking(self, step: str, usd: float, tokens: int) -> str:
        """Which budget an attempt does not fit, in words; "" if it fits all."""
        asked = {"usd": usd, "tokens": tokens}
        for key, limit in self.limits.call.items():
            if asked[key] > limit:
                return f"budget: call.{key}: this call may take {asked[key]:.6g} of {limit:g}; {self.limits.raise_it}"
        scopes = [("", "", self.limits.run), (f"steps.{step}.", step, self.limits.steps.get(step, {}))]
        for name, scope, limits in scopes:
            held = Amount(self._spent[scope].usd, self._spent[scope].tokens)
            for one in self._open.values():
                if scope in ("", one.step):
                    held.add(one.usd, one.tokens)
            used = {"usd": held.usd + self._other_usd(scope), "tokens": held.tokens}
            for key, limit in limits.items():
                if key in asked and used[key] + asked[key] > limit:
                    return (
                        f"budget: {name}{key}: {used[key]:.6g} of {limit:g} is spent or reserved, and this call may "
                        f"take {asked[key]:.6g}; {self.limits.raise_it}"
                    )
        return ""

    def _spend(self, step: str, usd: float, tokens: int) -> None:
        for scope in {"", step}:
            self._spent[scope].add(usd, tokens)

    def _write(self, line: bytes) -> None:
        """Append a line; after a piece of one, which a disk that fills up leaves, it begins a line of its own."""
        data = b"\n" * self._torn + line
        self._torn = os.write(self._descriptor, data) < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, "a line was cut short", str(self.path))

    def _sync(self, number: int) -> None:
        """Have a reservation on disk; those that were written meanwhile come along, and their threads need not wait.

        They fail along, too: of lines that could not be synced once, the kernel never says so again.
        """
        with self._syncing:
            if number <= self._synced:
                return
            if number <= self._lost:
                raise OSError(errno.EIO, "a line may not be on disk", str(self.path))
            latest = self._written
            try:
                os.fdatasync(self._descriptor)
            except OSError:
                self._lost = latest
                raise
            self._synced = latest


class Tally:
    """What a run's calls cost so far, for readers: each look reads only what was added since the last."""

    def __init__(self, path: Path) -> None:
        self.path, self.last, self._at = path, 0, 0
        self.open: dict[int, Mapping[str, Any]] = {}  # reserved and not settled, by number
        self.steps: dict[str, Amount] = defaultdict(Amount)  # settled, by step
        self.calls: dict[str, int] = defaultdict(int)  # attempts, by step

    def look(self) -> Amount:
        """Dollars and tokens that are spent or reserved."""
        for line in self.lines():
            self.last = max(self.last, line["n"])
            if line["event"] == "reserve":
                self.open[line["n"]] = line
                self.calls[line["step"]] += 1
            elif made := self.open.pop(line["n"], None):
                usd = made["usd"] if line["usd"] is None else line["usd"]
                self.steps[made["step"]].add(usd, line["tokens"])
        total = Amount()
        for one in self.steps.values():
            total.add(one.usd, one.tokens)
        for made in self.open.values():
            total.add(made["usd"], made["tokens"])
        return total

    def of(self, step: str) -> Amount:
        """What is spent or reserved of a step, as of the last look."""
        total = Amount(self.steps[step].usd, self.steps[step].tokens)
        for made in self.open.values():
            if made["step"] == step:
                total.add(made["usd"], made["tokens"])
        return total

    def lines(self) -> Iterator[dict[str, Any]]:
        """The whole lines that were added since the last look; torn ones are passed over."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._at += whole
        for text in data[:whole].splitlines():
            try:
                line = files.parse(text, self.path.name)
            except files.BadFile:  # torn, by a process that was killed
                continue
            if isinstance(line, dict) and {"n", "event", "call", "usd", "tokens"} <= line.keys():
                yield line


def _ends_whole(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return not size or os.pread(descriptor, 1, size - 1) == b"\n"
