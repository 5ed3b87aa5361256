"""Have a run's questions to models answered while a command waits for them."""

from __future__ import annotations

import _start

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from agents._ask import SERVICE
from agents._config import Config
from agents.models.keys import key_variables
from agents.models.ledger import NAME
from agents.models.profile import profiles
from agents.sandbox.environment import clean_environment
from bus import locks
from bus.run import Run


@contextlib.contextmanager
def served(run: Run, config: Config) -> Iterator[None]:
    """Have an llm agent for this run: the one that serves it, or one of our own until the end.

    Who starts one holds its keys: call agents.models.keys.guard_memory first.
    """
    if locks.is_held(run.folder / SERVICE / NAME):
        yield
        return
    settings = ["--config", str(config.folder.absolute())]
    argv = [sys.executable, "-P", "-m", "agents.llm", str(run.folder), "--watch", *settings]
    env = clean_environment({**key_variables(profiles(config.infra).values()), "PYTHONPATH": _start.ROOT})
    child = subprocess.Popen(argv, cwd=_start.ROOT, stdin=subprocess.DEVNULL, env=env)
    try:
        yield
    finally:
        child.terminate()
        child.wait()
