"""Every setting that holds for a run on this machine, each with where it came from.

A record of each start is kept in the run's config/; it is for people, and never read back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents._config import ROOT, Config
from agents._goal import parse
from agents._publish import publish_path
from bus import files, flow, schema
from bus.run import Run

DEFAULTS = {"tries": flow.DEFAULT_TRIES, "minutes": flow.DEFAULT_MINUTES}  # of a step that does not say


def resolved(run: Run, config: Config) -> dict[str, Any]:
    """config.v1 of a run; raises GoalError if its goal cannot be read."""
    budget = parse((run.folder / "goal.md").read_text("utf-8"), "goal.md").budget
    sources = {name: shown(source) for name, source in config.sources.items()}
    made: list[tuple[str, Any, str]] = [("seed", run.seed, "run.json"), ("rounds", run.rounds, "ROUNDS")]
    made += [(key, value, sources[key]) for key, value in config.infra.items() if key not in ("budget", "mcp")]
    for server, entry in (config.infra["mcp"] or {}).items():  # what a server's environment holds may be a key
        shown_entry = {**entry, **({"env": sorted(entry["env"])} if entry.get("env") else {})}
        made += [(f"mcp.{server}.{key}", value, sources["mcp"]) for key, value in shown_entry.items()]
    made += [(f"flow.{step}.tools", entries, sources[f"flow.{step}"]) for step, entries in config.tools.items()]
    for key, value in config.budget(budget).items():
        made.append((f"budget.{key}", value, "goal.md" if budget.get(key) == value else sources["budget"]))
    for step, entry in run.document["flow"].items():
        here, file = config.flow.get(step, {}), sources.get(f"flow.{step}", "")
        for key, value in {**DEFAULTS, **entry}.items():
            made.append((f"flow.{step}.{key}", value, origin(key, entry, here, file)))
    for service, entry in run.services.items():
        made += [(f"services.{service}.{key}", value, "run.json") for key, value in entry.items()]
    return {
        "schema": "config.v1",
        "settings": [{"name": name, "value": value, "source": source} for name, value, source in made],
    }


def record(run: Run, config: Config) -> None:
    """Write config/start-N.json; a start with the same settings as the last adds nothing."""
    folder = run.folder / "config"
    folder.mkdir(exist_ok=True)
    data = files.pretty(schema.check(resolved(run, config), "config.v1"))
    number = len(list(folder.glob("start-*.json")))
    if number and files.read_bytes(folder / f"start-{number}.json") == data:
        return
    publish_path(folder / f"start-{number + 1}.json", data)


def origin(key: str, entry: Mapping[str, Any], here: Mapping[str, Any], file: str) -> str:
    """Where a step's setting came from. A run keeps the flow that it was made with, whatever the file says now."""
    if key not in entry:
        return "default"
    if here.get(key) == entry[key]:
        return file
    return f"run.json ({file} says {json.dumps(here.get(key))})" if file else "run.json"


def shown(source: str) -> str:
    """A source's path without the machine's own folders: relative to the checkout, or its last two parts."""
    path = Path(source)
    if not path.is_absolute():
        return source
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(Path(*path.parts[-2:]))
