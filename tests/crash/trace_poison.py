"""Deaths and tries: which deaths count, wherever in the work they come, and which never do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from bus import tries
from tests.crash import trace, trace_check
from tests.crash.trace import Call, Job, Note
from tests.crash.trace_jobs import Kind, Scene, begin, commit

ENOUGH = tries.DEATHS + 2  # deaths after which a poison request is said never to end
GONE = "given up"  # what the worker notes when there is nothing to claim any more


class Victim:
    """One request r1 in a folder of its own, whose worker is killed again and again. `keep`: each try keeps more."""

    def __init__(self, kind: Kind, fresh: Callable[[], Path], keep: bool = False) -> None:
        self.kind, self.fresh, self.folder, self.keep, self.deaths = kind, fresh, fresh(), keep, 0
        with closing(Scene(kind, self.folder, lambda value: None)) as scene:
            scene.put("r1")

    def job(self, folder: Path) -> Job:
        """Claim r1, work on it, commit."""

        def prepared(note: Note) -> Callable[[], object]:
            scene = Scene(self.kind, folder, note)
            keeps = f"part-{self.deaths}.txt" if self.keep else ""
            return lambda: commit(begin(claim, keeps)) if (claim := scene.take()) else note(GONE)

        return prepared

    def calls(self) -> list[Call] | None:
        """What the worker would do next, tried on a copy; None if there is nothing to claim."""
        ended = trace.calls(self.job(trace_check.copy(self.folder, self.fresh() / "copy")), self.kind.refuse)
        assert not ended.error, ended.error
        return None if GONE in ended.notes else ended.counted

    def claiming(self) -> range:
        """The stops up to the trace that a try leaves."""
        return range(2 * self._begins(self.calls() or []) + 1)

    def working(self) -> range:
        """The stops from that trace to the commit, which is not done; they differ with the tries before."""
        calls = self.calls() or []
        (done,) = (n for n, call in enumerate(calls) if _appears(call, "outbox"))
        return range(2 * self._begins(calls) + 1, 2 * done + 1)

    def kept(self) -> int:
        """The stop right after a try has kept something."""
        return 2 * next(n for n, call in enumerate(self.calls() or []) if _appears(call, "kept")) + 1

    def _begins(self, calls: list[Call]) -> int:
        """A step's try is its folder; a service only marks the request, last of all that it does to its mode."""
        if self.kind.folders:
            return next(n for n, c in enumerate(calls) if c.name[:5] == "mkdir" and "/try-" in c.paths[-1])
        return max(n for n, call in enumerate(calls) if call.name == "fchmod")

    def kill(self, stop: int) -> None:
        killed = trace.kill_at(self.job(self.folder), stop, self.kind.refuse)
        assert killed is not None, f"there is no stop {stop}"
        self.deaths += 1

    def state(self) -> str:
        with closing(self.kind.open(self.folder)) as box:
            return f"{box.state('r1')} after {self.deaths} deaths"

    def finish(self, may_die: bool) -> str:
        return trace_check.finish(self.kind, self.folder, ["r1"], may_die)


def _appears(call: Call, where: str) -> bool:
    """True if a call lets something appear in such a folder."""
    return call.name[:6] in ("rename", "linkat") and where in Path(call.paths[-1]).parts[-2:-1]


def poisoned(kind: Kind, fresh: Callable[[], Path], place: int) -> str:
    """Kill a worker at the same place of its work each time, until its request is given up; what is wrong, or ""."""
    victim = Victim(kind, fresh)
    while victim.calls() is not None and victim.deaths < ENOUGH:
        stops = victim.working()
        victim.kill(stops[min(place, len(stops) - 1)])
    trace.calls(victim.job(victim.folder), kind.refuse)  # the claim that gives it up
    if victim.state() != f"dead after {tries.DEATHS} deaths":
        return f"{kind}: killed at stop {place} of its work each time: {victim.state()}"
    why = victim.finish(may_die=True)
    return f"{kind}: killed at stop {place} of its work each time, brought back: {why}" if why else ""


def while_claiming(kind: Kind, fresh: Callable[[], Path]) -> tuple[int, str]:
    """Kill the worker of one request at every stop before its try has begun: it is as if nothing had been."""
    victim = Victim(kind, fresh)
    for stop in victim.claiming():
        victim.kill(stop)
    why = "" if victim.state().startswith("waiting ") else victim.state()
    why = why or victim.finish(may_die=False)
    return victim.deaths, f"{kind}: killed while it claims: {why}" if why else ""


def getting_on(kind: Kind, fresh: Callable[[], Path], places: Sequence[int]) -> tuple[int, str]:
    """Kill the worker of one request at each of these places, each time followed by a death that had kept something."""
    victim = Victim(kind, fresh, keep=True)
    for place in places:
        for stop in (lambda place=place: victim.working()[place], victim.kept):
            if victim.calls() is None:
                return (
                    victim.deaths,
                    f"{kind}: given up after {victim.deaths} deaths, though each second kept something",
                )
            victim.kill(stop())
    why = victim.finish(may_die=False)
    return victim.deaths, f"{kind}: killed {victim.deaths} times, but getting on: {why}" if why else ""
