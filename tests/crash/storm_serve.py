"""One process that is every agent of a small run, until the run is done: each does what it finds, in turn.

    python -m tests.crash.storm_serve RUN CONFIG

The agents are the real ones; only their waiting is left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from agents import _child, _command, _config, memory
from agents._agent import Agent, Work
from agents._run import tidy
from bus.run import Run

IDLE_S = 0.005
JOBS: dict[str, Work] = {"memory": memory.memory}


def serve(run: Run, config: Path, over: Callable[[], bool] = lambda: True) -> None:
    """Work on a run until it is done, nothing is asked of its services, and `over()`."""
    settings = _config.load(config)
    boxes = [step.name for step in run.steps] + list(run.services)
    agents = [Agent(JOBS.get(name, _command.command), run, name, settings, loud=False) for name in boxes]
    for agent in agents:
        tidy(agent.mailbox)
    while True:
        run.advance()
        for agent in agents:
            for claim in agent.mailbox.claims():
                agent._attempt(claim)
        if not any(agent.mailbox.listing().pending for agent in agents) and run.done() and over():
            return
        time.sleep(IDLE_S)


if __name__ == "__main__":
    _child.adopt()
    serve(Run(Path(sys.argv[1])), Path(sys.argv[2]))
