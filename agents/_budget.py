"""What a run may spend and has spent: its budgets, its model calls, its GPU time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from agents._config import SPENT_BY_MODELS, Config
from agents._goal import Goal, parse
from agents._settings import shown
from agents.models.ledger import Limits
from agents.models.profile import Profile, profiles
from bus.run import Run

GOAL_SAYS = "the goal says so, and a copy of it under another `name` may have more"
FRESH_S = 5.0  # how old the sum over the replies may be; GPU time is billed by the hour


def goal_of(run: Run) -> Goal:
    """The goal of a run; raises GoalError."""
    return parse((run.folder / "goal.md").read_text("utf-8"), "goal.md")


def run_limits(run: Run, config: Config) -> dict[str, float]:
    """The lower of the goal's and this machine's budgets, by key; raises GoalError."""
    return config.budget(goal_of(run).budget)


def enabled(run: Run, config: Config) -> dict[str, Profile]:
    """The profiles that may answer a run's calls: none that needs a key where its goal gives no money."""
    return profiles(config.infra, goal_of(run).budget)


def call_limits(run: Run, config: Config) -> Limits:
    """What model calls must fit: the run's dollars and tokens, each step's, each call's."""
    budget = config.infra["budget"]
    whole = {key: value for key, value in run_limits(run, config).items() if key in SPENT_BY_MODELS}
    own = all(budget.get(key) == value for key, value in whole.items())
    where = raised_in(config) if own else GOAL_SAYS
    return Limits(whole, budget.get("steps") or {}, budget.get("call") or {}, where)


def raised_in(config: Config) -> str:
    """What a person can do about a budget of this machine; with no folder of its own, as runs keep the line."""
    return f"raise it in {shown(str(config.folder / 'infra.yaml'))}"


def gpu_usd(run: Run) -> Callable[[str], float]:
    """A function that says what the GPU time of a step, or "" for the run, has cost so far, by its replies."""
    looked, seen = -FRESH_S, Counter[str]()

    def known(step: str) -> float:
        nonlocal looked
        if (now := time.monotonic()) - looked >= FRESH_S:
            seen.clear()
            for (name, _), reply in run.listings()[0].items():
                for one in ("", name):
                    seen[one] += reply["usd"]
            looked = now
        return seen[step]

    return known
