"""Answer the run's questions to models: each call a file, paid once, within its budget, at the server's pace.

    bin/agent llm runs/gpu-ops --watch

Reads   (a request) call.v1: one question to a role's model
Writes  (a reply) called.v1: the question and its answer, with tokens, seconds, dollars and every attempt
        ledger.jsonl   what was reserved and what it cost
Asks    model endpoints, by the profiles of config/infra.yaml; this process alone holds their keys
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from agents import _budget
from agents._agent import Agent, Busy, GiveUp, Later, Stopped, main
from agents._config import ConfigError
from agents._idle import idle
from agents._job import Job
from agents._supervise import GRACE_S
from agents.models.exchange import Exchange, Impossible
from agents.models.keys import NoKey, guard_memory
from agents.models.ledger import BudgetGone, Ledger, Taken
from agents.models.profile import roles
from agents.models.turn import Stopping, Turn, Unanswered
from agents.models.waiting import Waiting
from bus.claim import Claim

LOOK_S = 0.02  # between two looks into the inbox: it is long while the judge is asked in advance
FINISH_S = 10.0  # for calls in flight when asked to stop: they are paid, and the supervisor kills after 15 s
CALLS_FD = "MAILROOM_CALLS_FD"  # names the descriptor on which an asker names its calls, see Desk.hear
TURN_S = 0.5  # how often one that a supervisor keeps looks whether the books are free
OUTAGE_S = 30.0  # a call is asked again so much later while no endpoint answers anybody: that is no fault of its own


class Desk(Agent):
    """The `llm` agent: works on many calls at once, each in a thread of its own."""

    exchange: Exchange | None = None  # until the books are open; the first beat comes before that
    waiting: Waiting | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        guard_memory()
        calls = os.environ.pop(CALLS_FD, "")
        super().__init__(*args, **settings)
        enabled, ledger = _budget.enabled(self.run, self.config), self.books()
        try:
            self.exchange = Exchange(enabled, roles(self.config.roles), ledger, self.stopping)
        except NoKey as error:
            raise ConfigError(str(error)) from None
        rooms = {name: one.concurrency for name, one in enabled.items()}
        self.waiting = Waiting(self.mailbox, rooms, frozenset() if calls else None)
        if calls:
            threading.Thread(target=self.hear, args=[int(calls)], name="calls", daemon=True).start()

    def books(self) -> Ledger:
        """The ledger; where another llm agent has it, one that a supervisor keeps waits its turn. Raises Busy."""
        limits, gpu_usd = _budget.call_limits(self.run, self.config), _budget.gpu_usd(self.run)
        while True:
            try:
                return Ledger(self.mailbox.folder, limits, gpu_usd)
            except Taken as error:
                if self.beat.descriptor < 0:
                    raise Busy(str(error)) from None
            time.sleep(TURN_S)  # SIGTERM ends it: no signal is handled before the books are open

    def hear(self, descriptor: int) -> None:
        """Take the IDs that a command names on a pipe, a line each, for all that is ours; its closing ends this agent.

        The kernel closes it when the command dies, however that dies. What is in flight has FINISH_S, as it is paid.
        """
        assert self.waiting
        os.set_inheritable(descriptor, False)
        with open(descriptor, encoding="ascii") as lines:
            for line in lines:
                self.waiting.only = (self.waiting.only or frozenset()) | {line.strip()}
                self.bell.ring()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    def answer(self, job: Job) -> dict[str, Any]:
        """The reply to one call; no signal interrupts it, as it is a thread's own."""
        assert self.exchange
        try:
            with idle(job.claim):
                entered = self.exchange.enter(job.request)
            if not entered:
                raise Stopping
            return Turn(self.exchange, job.id, job.request, partial(idle, job.claim)).reply()
        except Stopping:
            raise Stopped from None
        except BudgetGone as error:
            raise GiveUp(str(error), "budget") from None
        except Impossible as error:
            raise GiveUp(str(error), error.kind) from None
        except Unanswered as error:
            if error.outage:
                raise Later(str(error), OUTAGE_S) from None
            if error.passing:  # a try, which counts
                raise
            raise GiveUp(str(error), "model") from None

    def _commit(self, job: Job, claim: Claim, answer: Any) -> None:
        assert self.exchange
        super()._commit(job, claim, answer)
        self.exchange.past.pop(claim.id, None)

    def serve(self) -> None:
        assert self.waiting
        waiting, looked, stale = self.waiting, -LOOK_S, True
        with self.bell, ThreadPoolExecutor(waiting.most) as pool:
            while not self.stopping.is_set():
                soon = None
                if stale and waiting.hungry and (soon := looked + LOOK_S - time.monotonic()) <= 0:
                    waiting.look()
                    looked, stale, soon = time.monotonic(), False, None
                for id in waiting.next():
                    if self.stopping.is_set() or (claim := self.mailbox.claim(id)) is None:
                        waiting.end(id)
                    else:
                        pool.submit(self._handle, claim)
                stale = self.bell.wait(soon) or soon is None or stale
            until = time.monotonic() + FINISH_S
            while waiting.in_hand and time.monotonic() < until:
                time.sleep(0.05)
            if waiting.in_hand:  # what is in flight may be billed: its reservation stays spent
                os._exit(0)

    def _handle(self, claim: Claim) -> None:
        assert self.waiting and self.exchange
        try:
            self._attempt(claim)
        finally:
            self.exchange.leave()
            if self.waiting.end(claim.id):
                self.bell.ring()

    def _clean(self, value: Any) -> Any:
        """Without the keys: an error that nobody foresaw may quote what was sent."""
        return self.exchange.blotter.clean(value) if self.exchange else value

    def _error(self, job: Job | None, kind: str, message: str, **facts: Any) -> dict[str, Any]:
        return dict(self._clean(super()._error(job, kind, message, **facts)))

    def _tell(self, code: int, text: str) -> int:
        return super()._tell(code, str(self._clean(text)))

    def _describe(self) -> dict[str, Any]:
        count = self.waiting.in_hand if self.waiting else 0
        said = f"{count} calls in hand" if count else ""
        spent = self.exchange.ledger.spent() if self.exchange else None
        numbers = {"tokens": spent.tokens, "usd": round(spent.usd, 6)} if spent else {}
        if self.exchange and (down := self.exchange.down()):  # bin/status and bin/pipeline tell it
            said, wait = str(self._clean(down[0])), down[1] if count else self.mailbox.postponed()
            numbers["next_try_s"] = round(wait, 1)
        return {"claim": None, "age_s": 0.0, "say": said, "numbers": numbers, "gpu_s": 0.0}


if __name__ == "__main__":
    raise SystemExit(main(Desk.answer, kind=Desk))
