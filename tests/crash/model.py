"""Models: what a mailbox and a run do, whatever is done to them, is what a few lines of plain Python say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.crash.child import in_child
from tests.crash.model_mailbox import ServiceBox, StepBox
from tests.crash.model_run import RunModel
from tests.crash.ram import in_memory
from tests.crash.row import Row

PATIENCE_S = 900
QUICK, FULL = (60, 30), (400, 50)  # histories, steps of each

_BOX = "put, put_many, claim, claims, begin, keep, commit, fail, give up, release, die, bury, revive, withdraw, hold"
_RUN = (
    "advance, claim, commit, die, give up, retry, replies lost and replaced, requests lost, another goal, more rounds"
)

# name -> (machine, promise, what it does)
MACHINES: dict[str, tuple[Callable[..., RuleBasedStateMachine], str, str]] = {
    "step": (StepBox, "a step's mailbox says and does what its model says, after every step of any history", _BOX),
    "service": (ServiceBox, "a service's mailbox says and does what its model says, after every step", _BOX),
    "run": (RunModel, "a run asks for what its model says, whatever is lost or replaced, and comes to its end", _RUN),
}


def tried(machine: Callable[..., RuleBasedStateMachine], folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    """Run one machine; the smallest history that breaks it is in the exception that hypothesis raises."""
    examples, steps = QUICK if quick else FULL
    counts = {"histories": 0, "steps": 0}
    everything, phases = list(hypothesis.HealthCheck), (hypothesis.Phase.generate, hypothesis.Phase.shrink)
    limits = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=quick,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=everything,
    )
    make: Any = partial(machine, folder, counts)
    run_state_machine_as_test(make if quick else hypothesis.seed(seed)(make), settings=limits)
    return {"broken": "", **counts}


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    with in_memory(folder / "models") as place:
        for name, (machine, promise, rules) in MACHINES.items():
            (place / name).mkdir()
            result = in_child(partial(tried, machine, place / name, seed, quick), PATIENCE_S)
            histories, steps = result.get("histories", 0), result.get("steps", 0)
            yield Row(promise, f"{histories:,} histories of {steps:,} steps in all: {rules}", result["broken"])
