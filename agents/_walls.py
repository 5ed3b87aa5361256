"""Try the walls that a run will need when it starts, not at the first crash; say which do not hold on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agents import _budget
from agents._config import Config
from agents.sandbox.apart import why_not
from agents.sandbox.proof import prove
from agents.sandbox.walls import Refused
from bus.run import Run


class Wall(NamedTuple):
    """One wall: `name` sandbox or apart, a line for people, and whether it lacks what a person must know."""

    name: str
    line: str
    lacks: bool


def walls(run: Run, config: Config) -> Iterator[Wall]:
    """What a run needs, tried: the sandbox with a model, whose code it may run, a pid namespace for others' programs.

    The sandbox takes about 0.3 s, the namespace 0.05 s; nothing is tried that the run does not need.
    """
    if _budget.enabled(run, config):
        yield sandbox(config.infra["sandbox"])
    if (others := config.tools or any(step.command for step in run.steps)) and (why := why_not()):
        what = "MCP servers" if others is config.tools else "commands"
        yield Wall("apart", f"{what} see other processes, and what they hold: {why}", True)


def sandbox(how: str) -> Wall:
    """The sandbox for code that a model wrote, proved; one that is refused by choice lacks nothing."""
    if how == "refuse":
        return Wall("sandbox", "sandbox: refuse: code of a model is not run", False)
    try:
        proof = prove(how)
    except Refused as error:
        return Wall("sandbox", f"{error}; code of a model is not run", True)
    except OSError as error:  # such as a full disk
        return Wall("sandbox", f"sandbox: {how} could not be tried: {error}", True)
    return Wall("sandbox", proof.line, proof.reduced or bool(proof.lacking))
