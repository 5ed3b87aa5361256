"""See before anything is paid that the tools which steps are allowed are there: start their servers, and end them."""

from __future__ import annotations

import _start

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from agents import _wiring
from agents._config import Config, ConfigError
from agents._original import is_replayed
from agents._servers import servers
from bus.run import Run


def check_tools(config: Config, run: Run | None, say: Callable[[str], None]) -> None:
    """Raise ConfigError for a tool that a step of a run, or of the run that will be made, cannot have.

    Only the steps that the run still has to do count. A server takes as long as it takes to start, once for all steps;
    a replay needs none.
    """
    if run and is_replayed(run.folder):
        return
    left = undone(run) if run else config.tools.keys()
    asked = {step: entries for step, entries in config.tools.items() if step in left}
    if run and (wrong := _wiring.problem(run.document["flow"], asked, config.infra["mcp"] or {})):
        raise ConfigError(f"{run.name}: run.json: flow: {wrong}")
    if not (allowed := list(dict.fromkeys(entry for entries in asked.values() for entry in entries))):
        return
    from agents._job import GiveUp
    from agents._tools import NoServer, Tools  # brings in the MCP client, which other runs do without

    with tempfile.TemporaryDirectory(prefix="tools-") as folder:
        tools = Tools(servers(config.infra), allowed, Path(folder) / "tools", say, hide=config.hidden)
        try:
            tools.open()
        except (GiveUp, NoServer) as error:
            who = ", ".join(sorted(asked))
            raise ConfigError(f"{config.folder / 'infra.yaml'}: {error} (allowed to {who})") from None
        finally:
            tools.close()


def undone(run: Run) -> Collection[str]:
    """The steps of a run that have not replied for every round that is wanted."""
    replied, _ = run.listings()
    rounds = range(1, min(run.rounds, 2 + max((n for _, n in replied), default=0)) + 1)
    return {step.name for step in run.steps if any((step.name, n) not in replied for n in rounds)}
