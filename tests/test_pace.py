"""The pace of model calls: its law against simulated servers by a simulated clock, and once against a real one."""

import heapq
import itertools
import math
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from agents.models.aimd import COOLDOWN_S, FAILURES, LONG_S, START, Law, Ticket
from agents.models.pace import Pace
from tests.processes import PATIENCE_S
from tests.scripted.ceiling import Ceiling
from tests.scripted.fixture import Scripted

WORKERS = 64
ROUND_S = 0.002  # from a client to a server and back
LATE_S = 1e-4  # by which a thread wakes late
OWN_S = 0.003  # what a worker does between two calls


@dataclass
class World:
    """Workers that ask a server with a ceiling, by a clock that jumps from event to event."""

    ceiling: Ceiling
    latency_s: tuple[float, float] = (0.15, 0.25)
    seed: int = 1
    counts: Counter = field(default_factory=Counter)
    entered: list[float] = field(default_factory=list)

    def run(self, seconds: float, workers: int = WORKERS) -> "World":
        chance, order = random.Random(self.seed), itertools.count()
        law, waiting, wakes = Law(WORKERS, chance.random), workers, -1.0
        events: list[tuple[float, int, str, Any]] = [(0.0, next(order), "wake", None)]

        def later(at: float, what: str, about: Any = None) -> None:
            heapq.heappush(events, (at, next(order), what, about))

        while events and events[0][0] < seconds:
            now, _, what, about = heapq.heappop(events)
            if what == "served":
                self.ceiling.leave()
            elif what == "left":
                law.left(now, *about)
                self.counts[about[1]] += 1
                later(now + OWN_S, "back")
            waiting += what == "back"
            while waiting:
                taken = law.take(now)
                if not isinstance(taken, Ticket):
                    due = now + taken + LATE_S
                    if due < math.inf and not now < wakes <= due:
                        wakes = due
                        later(wakes, "wake")
                    break
                waiting -= 1
                self.entered.append(now)
                if refused := self.ceiling.take(now + ROUND_S / 2):
                    later(now + ROUND_S, "left", (taken, "busy", refused[1]))
                else:
                    done = now + ROUND_S / 2 + chance.uniform(*self.latency_s)
                    later(done, "served")
                    later(done + ROUND_S / 2, "left", (taken, "ok"))
        return self

    @property
    def refused(self) -> float:
        return self.counts["busy"] / sum(self.counts.values())


BURSTS = {"every_s": 10, "for_s": 2}
SCENES: dict[str, tuple[list[dict], dict | None, float]] = {  # ceiling, bursts, answers in 60 s
    "at once": ([{"at_once": 24}], None, 24 / 0.2 * 60),
    "a few at once": ([{"at_once": 4}], None, 4 / 0.2 * 60),
    "per second": ([{"per_s": 100, "bucket": 100}], None, 6100),
    "per second, small bucket": ([{"per_s": 100, "bucket": 20}], None, 6020),
    "bursts": ([{"at_once": 24}], BURSTS, 24 / 0.2 * 48),
    "bursts with Retry-After": ([{"at_once": 24}], {**BURSTS, "retry_after": 1}, 24 / 0.2 * 48),
    "bursts, no ceiling": ([], BURSTS, 64 / 0.2 * 48),
    "rates that change": (
        [{"from_s": at * 20, "per_s": rate, "bucket": 20} for at, rate in enumerate((150, 50, 120))],
        None,
        320 * 20,
    ),
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_comes_within_a_tenth_of_the_ceiling_with_few_refused(name: str, seed: int) -> None:
    entries, bursts, ceiling = SCENES[name]
    world = World(Ceiling(entries, bursts), seed=seed).run(60)
    assert world.counts["ok"] >= 0.9 * ceiling and world.refused < 0.02, (world.counts, ceiling)


def test_a_ceiling_that_falls_is_obeyed_and_one_that_rises_is_found() -> None:
    entries = [{"from_s": at * 30, "at_once": count} for at, count in enumerate((24, 8, 32))]
    world = World(Ceiling(entries, None)).run(90)
    assert world.counts["ok"] >= 0.85 * (24 + 8 + 32) / 0.2 * 30, world.counts
    assert world.refused < 0.02


def test_without_refusals_the_slow_start_grows_fast_up_to_the_most() -> None:
    law, before = Law(32, lambda: 0.5), 0
    for now in range(0, 160, 20):
        tickets = fill(law, now)
        assert len(tickets) == START if not before else len(tickets) >= min(1.5 * before, 32)
        before = len(tickets)
        for ticket in tickets:
            law.left(now + 10, ticket, "ok")
    assert before == 32


def fill(law: Law, now: float) -> list[Ticket]:
    """Everybody who gets in by and by, while nobody leaves."""
    tickets = []
    while (taken := law.take(now)) != math.inf:
        if isinstance(taken, Ticket):
            tickets.append(taken)
        else:
            now += taken
    return tickets


def test_refusals_of_requests_already_in_flight_count_once() -> None:
    one, many = Law(16, lambda: 0.5), Law(16, lambda: 0.5)
    for law, refusals in ((one, 1), (many, 4)):
        for ticket in fill(law, 0.0):
            law.left(1.0, ticket, "ok")
        for ticket in fill(law, 2.0)[-refusals:]:
            law.left(9.0, ticket, "busy")
    assert one.limit - many.limit <= 3, "no further than the first of them was in flight"
    assert one.opens == many.opens == -math.inf


@pytest.mark.parametrize("chance", [0.0, 0.99])
def test_retry_after_holds_for_everybody_and_then_one_comes_first(chance: float) -> None:
    law = Law(16, lambda: chance)
    tickets = fill(law, 0.0)
    law.left(1.0, tickets.pop(), "busy", 7.0)
    law.left(1.5, tickets.pop(), "busy", 2.0)  # asks for less: the longest is kept
    for ticket in tickets:
        law.left(1.5, ticket, "ok")
    wait = law.take(1.5)
    assert isinstance(wait, float) and wait >= 6.5 and (wait > 6.5) == (chance > 0)
    assert isinstance(law.take(8.0 - 1e-6), float)
    first = law.take(1.5 + wait)
    assert isinstance(first, Ticket) and isinstance(law.take(1.5 + wait), float), "one tries"
    assert law.cooling_s(1.5) == 0.0
    law.left(99.0, first, "busy", LONG_S)
    assert law.cooling_s(99.0) >= LONG_S, "so long a wait is a cooldown"


def test_failures_in_a_row_cool_down_longer_each_time_and_one_request_ends_it() -> None:
    law, now, before = Law(16, lambda: 0.0), 0.0, 0.0
    tickets = fill(law, now)
    for ticket in tickets:  # the last was in flight when the cooldown began: it counts no more
        law.left(now := 1.0, ticket, "failed")
    assert FAILURES == 3 < len(tickets)
    for _ in range(9):
        cooling = law.cooling_s(now)
        assert cooling == min(max(before * 2, COOLDOWN_S[0]), COOLDOWN_S[1])
        now, before = now + cooling, cooling
        assert law.cooling_s(now) == 0.0, "somebody has to try"
        probe = law.take(now)
        assert isinstance(probe, Ticket) and law.take(now) == math.inf and law.cooling_s(now) > 0
        law.left(now, probe, "failed")
    now += law.cooling_s(now)
    probe = law.take(now)
    assert isinstance(probe, Ticket)
    law.left(now, probe, "ok")
    assert law.cooling_s(now) == 0.0 and len(fill(law, now)) > 1


def test_a_server_that_is_down_for_ever_is_tried_for_ever() -> None:
    law, now = Law(16, lambda: 0.0), 0.0
    for _ in range(3000):
        probe = law.take(now)
        assert isinstance(probe, Ticket)
        law.left(now, probe, "failed")
        now += law.cooling_s(now)
    assert now > 2900 * COOLDOWN_S[1]


def test_what_was_not_sent_ends_no_cooldown_and_another_tries_instead() -> None:
    law, now = Law(16, lambda: 0.0), 0.0
    for ticket in fill(law, now):
        law.left(1.0, ticket, "failed")
    now = 1.0 + law.cooling_s(1.0)
    for _ in range(3):
        probe = law.take(now)
        assert isinstance(probe, Ticket) and law.take(now) == math.inf
        law.left(now, probe, "unsent")
    probe = law.take(now)
    assert isinstance(probe, Ticket)
    law.left(now, probe, "failed")
    assert law.cooling_s(now) == 2 * COOLDOWN_S[0], "the cooldown went on, and is longer each time"
    refused = Law(16, lambda: 0.0)
    for ticket in fill(refused, 0.0):
        refused.left(1.0, ticket, "busy", 2.0)
    refused.left(3.0, ticket_at(refused, 3.0), "unsent")
    assert isinstance(ticket_at(refused, 3.0), Ticket) and isinstance(refused.take(3.0), float), "one tries, at once"


def ticket_at(law: Law, now: float) -> Ticket:
    taken = law.take(now)
    assert isinstance(taken, Ticket)
    return taken


def test_failures_between_successes_cool_nothing_down() -> None:
    law = Law(16, lambda: 0.5)
    for now in range(40):
        ticket = law.take(float(now))
        assert isinstance(ticket, Ticket)
        law.left(now, ticket, "ok" if now % FAILURES == 0 else "failed")
        assert law.cooling_s(now) == 0.0


def test_stopping_lets_everybody_go_and_a_fallback_need_not_wait() -> None:
    clock, stopping = [0.0], threading.Event()
    pace = Pace(1, clock=lambda: clock[0])
    assert pace.enter(stopping) and pace.inflight == 1
    left = []
    waiting = [threading.Thread(target=lambda: left.append(pace.enter(stopping))) for _ in range(5)]
    for thread in waiting:
        thread.start()
    stopping.set()
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert left == [False] * 5 and not pace.enter(stopping)
    pace.leave("busy", LONG_S)
    assert not pace.enter(threading.Event(), through_cooldown=False) and pace.cooling_s() >= LONG_S
    with pytest.raises(RuntimeError, match="without enter"):
        pace.leave("ok")
    clock[0] = LONG_S * 2
    assert pace.enter(threading.Event(), through_cooldown=False)


def test_a_real_server_answers_all_and_refuses_few(tmp_path: Path) -> None:
    """600 calls by 32 threads past a ceiling of 8: every one is answered, and the server's log says the same."""
    pace, stopping, lock = Pace(32), threading.Event(), threading.Lock()
    todo, counts = list(range(600)), Counter[int]()
    script = {"ceiling": [{"at_once": 8}], "default": {"latency_s": [0.02, 0.04]}}

    def work(url: str) -> None:
        with requests.Session() as session:
            while True:
                with lock:
                    if not todo:
                        return
                    n = todo.pop()
                status = 429
                while status == 429:
                    assert pace.enter(stopping)
                    body = {"messages": [{"role": "user", "content": str(n)}]}
                    status = session.post(f"{url}/chat/completions", json=body, timeout=PATIENCE_S).status_code
                    pace.leave("ok" if status == 200 else "busy")
                    with lock:
                        counts[status] += 1

    with Scripted(tmp_path, script) as server:
        threads = [threading.Thread(target=work, args=(server.url,)) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert counts[200] == 600 == len(server.billed()) and set(counts) <= {200, 429}
    assert counts[429] == sum(row["status"] == 429 for row in server.asked()) < 60
    assert max(row["at_once"] for row in server.asked()) <= 8 and pace.inflight == 0
