"""A quote: what a run will cost, step by step, low, expected and high, and whether its budgets hold that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

from agents.quoting.plan import AGENT, Amount, Plan, total
from agents.quoting.rates import Range

FIGURES: dict[str, Callable[[Amount], float | None]] = {
    "calls": lambda one: one.calls,
    "input": lambda one: one.input,
    "output": lambda one: one.output,
    "held": lambda one: one.held,
    "usd": lambda one: one.usd,
    "seconds": lambda one: one.seconds,
}
Scenario = Mapping[str, Amount]  # by kind of call


@dataclass
class Quote:
    """`expected` is the most likely scenario; `ends` are the low and high one, or many draws of what may be.

    `own` are seconds, and `gpu` GPU seconds, that steps took in earlier runs here, low to high. A step that is not in
    `own` is not known; `gpu` None: nothing is known of GPUs. `steps` are those of the flow, in order.
    """

    plan: Plan
    expected: Scenario
    ends: Sequence[Scenario]
    steps: Sequence[str]
    own: Mapping[str, Range] = field(default_factory=dict)
    gpu: Mapping[str, Range] | None = None
    trim: float = 0.0  # share of the draws beyond either end
    first_asked: Scenario | None = None  # as `expected`, where the profiles that others stood in for answer the rest

    def step_of(self, kind: str) -> str:
        return self.plan.ahead.steps[AGENT[kind]]

    def figure(self, name: str, kinds: Sequence[str]) -> Range | None:
        """One figure of some kinds of calls together; None where no price is known."""
        of = FIGURES[name]
        drawn = [of(total(one[kind] for kind in kinds)) for one in self.ends]
        middle = of(total(self.expected[kind] for kind in kinds))
        known = sorted(one for one in drawn if one is not None)
        if middle is None or len(known) < len(drawn):
            return None
        cut = int(self.trim * len(known))
        low, high = known[cut], known[len(known) - 1 - cut]
        return Range(min(low, middle), middle, max(high, middle))

    def kinds_of(self, step: str) -> list[str]:
        return [kind for kind in self.plan.kinds if self.step_of(kind) == step]

    def wall(self, steps: Sequence[str]) -> Range | None:
        """Seconds that steps take: for the models' answers, and for their own work where earlier runs tell it."""
        found = [self.own[step] for step in steps if step in self.own]
        kinds = [kind for step in steps for kind in self.kinds_of(step)]
        if kinds and (asking := self.figure("seconds", kinds)):
            found.append(asking)
        return summed(found) if found else None

    def unknown_time(self) -> list[str]:
        """The steps whose own work nobody has timed here."""
        return [step for step in self.steps if step not in self.own]

    def gpu_hours(self, steps: Sequence[str]) -> Range | None:
        """GPU hours of steps; None: not known."""
        if self.gpu is None:
            return None
        found = [self.gpu[step] for step in steps if step in self.gpu]
        return Range(*(one / 3600 for one in summed(found))) if found else Range(0, 0, 0)


def summed(found: Sequence[Range]) -> Range:
    """Ranges end by end; of none, nothing."""
    if not found:
        return Range(0, 0, 0)
    return Range(*(reduce(add, ends) for ends in zip(*found, strict=True)))


def verdicts(quote: Quote, run: Mapping[str, float], steps: Mapping[str, Mapping[str, float]]) -> list[str]:
    """For each budget of the run and of single steps, in a line: it holds, or which step reaches it."""
    made = [verdict(quote, f"budget {key}", key, limit, quote.steps) for key, limit in run.items()]
    for step, limits in steps.items():
        made += [verdict(quote, f"budget steps.{step}.{key}", key, limit, [step]) for key, limit in limits.items()]
    return made


def verdict(quote: Quote, name: str, key: str, limit: float, steps: Sequence[str]) -> str:
    """One budget against the quote."""
    found = spent(quote, key, steps)
    if found is None:
        return f"{name} {limit:g}: nobody knows whether it holds: {why_unknown(key)}"
    said = f"{name} {limit:g}: {found.expected:.3g} expected, {found.high:.3g} at most"
    if found.high <= limit:
        return f"{said}: fits" + (" as far as the time of steps is known" if key == "wall_hours" else "")
    place = 1 if found.expected > limit else 2
    until = (spent(quote, key, steps[: n + 1]) for n in range(len(steps)))
    where = next((step for step, one in zip(steps, until, strict=True) if one and one[place] > limit), steps[-1])
    return f"{said}: {'would' if place == 1 else 'could'} be reached in {where}"


def spent(quote: Quote, key: str, steps: Sequence[str]) -> Range | None:
    """What steps take of a budget, in its own unit."""
    kinds = [kind for step in steps for kind in quote.kinds_of(step)]
    if key == "tokens":
        found = [one for name in ("input", "output", "held") if (one := quote.figure(name, kinds))]
        return summed(found)
    gpu, rate = quote.gpu_hours(steps), quote.plan.ahead.config.usd_per_gpu_hour
    if key == "gpu_hours":
        return gpu
    if key == "usd":
        asking = quote.figure("usd", kinds)
        if not rate or not asking:
            return asking
        return summed([asking, Range(*(rate * one for one in gpu))]) if gpu else None
    wall = quote.wall(steps)
    return Range(*(one / 3600 for one in wall)) if wall else None


def why_unknown(key: str) -> str:
    return {
        "usd": "a model has no price, or nobody knows its GPU time",
        "gpu_hours": "no earlier run here used a GPU for this base",
    }.get(key, "no step's time is known")
