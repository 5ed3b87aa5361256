"""How many requests a server gets at once, and how fast: the law alone, with no clock, no thread and no sleep.

Additive increase, multiplicative decrease (Chiu and Jain 1989) with a slow start (Jacobson 1988), bent for servers
whose refusals cost: a refusal at k in flight sets the limit to k - 1, which just went well, and what went well is left
alone for PROBE_AFTER calls. A second refusal with none admitted between says that it is not the number at once: then
nobody enters for a moment, one request tries, and the pace is kept to what the server lately took.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

How = Literal["ok", "busy", "failed", "unsent"]
START = 4.0  # at once, before anything is known; the slow start doubles it each round
WIDER = 1.0  # at once more with each call of the slow start: twice as many each round
PROBE_AFTER = 150  # calls that go well before one more is tried: a refusal each is under 1%
LEARN_AFTER = 20  # the same for a pace that is known from few calls only
ENOUGH = 6  # calls that tell a rate
MARGIN = 0.97  # of the rate at which refusals began
STEPS = (1.01, 1.30)  # the first and the largest factor of a faster pace; each is twice the one before
SLOWER = 0.8  # where there were too few calls to tell the rate
SMOOTH = (2.0, 1.25)  # entries are spread over so many times the pace that keeps the limit full; as Linux's TCP does
RECENT = 0.1  # the weight of the newest in a moving average
LESS = 0.8  # of a number at once that went well: a refusal at so few is no question of the number
MANY = 8  # of so many at once, one less costs no more than a slower pace would
REOPEN = 0.9  # of the limit that was known to be good, after a closure
OUTAGE = 4  # refusals in a row: the server takes nothing at all, and the pace was not the reason
PAUSE_S = (0.15, 5.0)  # the shortest and longest wait before a server that refuses everything is tried again
PAUSE_SHARE = 0.3  # of the time that it refused so far: a burst is noticed to be over within a third of itself
SPREAD = 0.2  # of a wait, by chance on top: other processes wait for the same moment
COST_SHARE = 0.02  # of the time that may be lost to refusals that were asked for
PROMPT_S = 0.02  # a refusal that takes longer than this past the usual one is no longer expected
FAILURES = 3  # in a row: then the profile cools down
COOLDOWN_S = (1.0, 60.0)  # the first and the longest cooldown; each is twice the one before
DOUBLINGS = 10  # that many lead past the longest; no power of 2 past the 1,023rd is a float
LONG_S = 30.0  # a Retry-After of so long is a cooldown, too: callers have better places to wait


@dataclass(frozen=True)
class Ticket:
    """One request in flight: when it entered, how many were in flight with it, and what it had waited for."""

    entered: float
    at_once: int
    paced: bool  # the pace held it back, not the number at once


class Law:
    """Adaptive concurrency and pace of one server. Every call is told the time, in seconds of any steady clock."""

    def __init__(self, most: int, random: Callable[[], float]) -> None:
        self.most, self.random = most, random
        self.limit, self.inflight = min(START, most), 0
        self.rate = self._last_rate = self._rate_before = math.inf
        self.rate_paces = False  # entries a second; whether it held anybody back of late
        self._waits_for_pace = False
        self.known = float(most)  # a limit up to which nothing speaks against growing fast
        self.good = 0.0  # the most at once that went well since the last refusal
        self._full = False  # somebody waited for a slot of late
        self._calm = self._rate_calm = 0  # calls that must go well before the next is tried
        self._wide = 1  # how many more at once are tried next
        self._step = STEPS[0] - 1
        self._next = -math.inf  # when the pace lets the next one in
        self.opens = -math.inf  # nobody enters before
        self._single, self._tried = False, -math.inf  # after a closure one tries; when it entered
        self._cut_at = self._episode_at = -math.inf
        self._admitted = 0  # since the last episode of refusals began
        self._in_a_row = 0  # refusals with none admitted between
        self._refused_in_s = self._takes_s = 0.0  # how fast refusals and answers come
        self._probe_not_before = -math.inf
        self._raised, self._asked_for = True, True  # more was tried since the last refusals; they may be due to that
        self._failures = self._cooldowns = 0
        self._cooling, self._cooled_at, self._long = False, -math.inf, False

    # -- going in -----------------------------------------------------------------------------------------------

    def take(self, now: float) -> Ticket | float:
        """A ticket, or how many seconds to wait before asking again (inf: until somebody leaves)."""
        if now < self.opens:
            return self.opens - now
        if self._cooling and self.inflight:
            return math.inf  # one tries, when those that failed have left
        if self._single and self._tried >= self.opens:
            if now < (admitted := self._tried + self._prompt()):
                return admitted - now
            self._single = False
        if self.inflight >= int(self.limit):
            self._full, self._waits_for_pace = True, False
            return math.inf
        if now < self._next:
            self.rate_paces = self._waits_for_pace = self._gap() <= 1 / self.rate
            return self._next - now
        return self._enter(now)

    def _enter(self, now: float) -> Ticket:
        if self._episode_at == -math.inf:
            self._episode_at = now
        gap = self._gap()
        self._next = max(self._next, now - gap) + gap  # one late wake-up is made up for, not many
        if self._single or self._tried < self._cut_at:
            self._tried = now
        self.inflight += 1
        self._admitted += 1
        ticket = Ticket(now, self.inflight, self._waits_for_pace)
        self._waits_for_pace = False
        return ticket

    def _gap(self) -> float:
        """Seconds from one entry to the next: calls that enter in a heap are refused in a heap."""
        growing, steady = SMOOTH
        factor = growing if self.limit < self.known else steady
        return max(1 / self.rate, self._takes_s / (self.limit * factor))

    def cooling_s(self, now: float) -> float:
        """Seconds for which callers should go elsewhere; 0 if the profile may be tried."""
        if self._cooling or (self._long and now < self.opens):
            return max(self.opens - now, COOLDOWN_S[0] if self.inflight else 0.0)
        return 0.0

    # -- coming out ---------------------------------------------------------------------------------------------

    def left(self, now: float, ticket: Ticket, how: How, retry_after_s: float | None = None) -> None:
        self.inflight -= 1
        if how == "ok":
            self._went_well(now, ticket)
        elif how == "busy":
            self._admitted -= 1
            self._refused(now, ticket, retry_after_s)
        elif how == "unsent":  # it tried nothing: who comes next does so instead
            self._admitted -= 1
            if self._tried == ticket.entered:
                self._tried = -math.inf
        else:
            self._failed(now, ticket, retry_after_s)

    def _went_well(self, now: float, ticket: Ticket) -> None:
        self._failures = 0
        self._takes_s += RECENT * (now - ticket.entered - self._takes_s)
        if ticket.entered >= self._cooled_at:
            self._cooling, self._cooldowns = False, 0
        if ticket.entered < self._cut_at:
            return  # says nothing about the limit as it is now
        self._in_a_row, self._single = 0, False
        self.good = max(self.good, float(ticket.at_once))
        if self.rate_paces:
            self._faster(now)
        if self._full or ticket.at_once * (2 if self.limit < self.known else 1) >= int(self.limit):
            self._wider(now)  # only a limit that was used says that it is not too much

    def _wider(self, now: float) -> None:
        """One more at once: with each call up to what is known to be good, past it after a calm."""
        self._full = False
        if self.limit < self.known:
            self.limit = min(self.limit + WIDER, self.known)
            return
        self._calm -= 1
        if self._calm <= 0 and now >= self._probe_not_before and self.limit < self.most:
            self.limit = self.known = min(float(int(self.limit) + self._wide), self.most)
            self._wide, self._calm = self._wide * 2, int(self.limit)  # one round at the new limit
            self._raised = True

    def _faster(self, now: float) -> None:
        self.rate_paces = False
        self._rate_calm -= 1
        if self._rate_calm <= 0 and now >= self._probe_not_before:
            self._last_rate, self._raised = self.rate, True
            self.rate *= 1 + self._step
            self._step = min(self._step * 2, STEPS[1] - 1)
            self._rate_calm = LEARN_AFTER

    # -- refusals -----------------------------------------------------------------------------------------------

    def _refused(self, now: float, ticket: Ticket, retry_after_s: float | None) -> None:
        self._refused_in_s += RECENT * (now - ticket.entered - self._refused_in_s)
        self._cooling = self._cooling and ticket.entered < self._cooled_at  # it is busy, not broken
        if ticket.entered >= self._cut_at:  # else it is of the same burst, which was answered already
            tried_alone = self._tried >= ticket.entered or now - self._tried <= self._prompt()
            self._in_a_row = self._in_a_row + 1 if tried_alone else 1
            if self._in_a_row <= 1:
                self._cut(now, ticket)
            else:
                self._close(now)
            self._cut_at, self.good = now, min(self.good, ticket.at_once - 1.0)
        if retry_after_s:
            self._obey(now, retry_after_s)

    def _cut(self, now: float, ticket: Ticket) -> None:
        """The first refusal after some that were admitted: a little too many, or a little too fast."""
        self._rate_before, soon = self.rate, self._admitted < PROBE_AFTER
        self._asked_for, self._raised = self._raised, False
        more = ticket.at_once > MANY and ticket.at_once > self.good > 0  # than went well of late: it is the number
        if (ticket.paced and not more) or ticket.at_once <= self.good * (1.0 if soon else LESS):
            self.rate = self._slower(now)
        if more or not ticket.paced or ticket.at_once >= int(self.limit):
            self.limit = max(1.0, min(self.limit, ticket.at_once - 1.0))
            if ticket.at_once > self.good:
                self.known = self.limit
        self._last_rate = self.rate
        self._calm, self._wide, self._step = PROBE_AFTER, 1, STEPS[0] - 1
        self._rate_calm = PROBE_AFTER if self._admitted >= 2 * LEARN_AFTER else LEARN_AFTER
        self._episode_at, self._admitted = now, 0

    def _slower(self, now: float) -> float:
        """A pace that goes well: the last one, or what was admitted between two refusals if they came close together.

        Of a token bucket that is exact: at either refusal it was empty.
        """
        if self._admitted >= PROBE_AFTER and self.rate < math.inf:
            return self._last_rate * MARGIN if self._asked_for else self.rate
        if self._admitted < ENOUGH:
            return self.rate * SLOWER
        return MARGIN * min(self.rate, self._admitted / max(now - self._episode_at, 1e-3))

    def _close(self, now: float) -> None:
        """Refused again, with none admitted between: nobody enters for a while, then one tries."""
        self.good = 0.0  # the server has changed: what went well before is no measure
        if self._in_a_row == OUTAGE:
            self.rate = self._rate_before
        low, high = PAUSE_S
        pause = min(max(PAUSE_SHARE * (now - self._episode_at), low), high)
        self._shut(now, pause * (1 + SPREAD * self.random()))

    def _obey(self, now: float, seconds: float) -> None:
        self._long = seconds >= LONG_S
        if self._asked_for:
            self._probe_not_before = now + seconds / COST_SHARE
        self._shut(now, seconds + min(1.0, SPREAD * seconds) * self.random())

    def _shut(self, now: float, seconds: float) -> None:
        self.opens, self._single = max(self.opens, now + seconds), True
        self.limit = max(1.0, min(self.limit, self.known * REOPEN))

    def _prompt(self) -> float:
        """Seconds within which a refusal would have come."""
        return 4 * self._refused_in_s + PROMPT_S

    # -- failures -----------------------------------------------------------------------------------------------

    def _failed(self, now: float, ticket: Ticket, retry_after_s: float | None) -> None:
        if ticket.entered >= self._cooled_at:  # else the cooldown has answered it already
            self._failures += 1
            if self._cooling or self._failures >= FAILURES:
                first, longest = COOLDOWN_S
                seconds = min(first * 2 ** min(self._cooldowns, DOUBLINGS), longest)
                self._cooling, self._cooled_at, self._failures = True, now, 0
                self._cooldowns += 1
                self._shut(now, seconds * (1 + SPREAD * self.random()))
        if retry_after_s:
            self._obey(now, retry_after_s)
