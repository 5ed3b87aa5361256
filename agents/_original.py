"""What a replayed run has of its original beside the answers of models: what no answer tells and no second look brings.

llm/original/STEP/rN/NAME      as it is in the original's STEP/outbox/rN/NAME: what the memory said, tools, web pages

bin/_replay.py brings it, each file once. A run that replays none has no such folder.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from agents._ask import REPLAY, SERVICE
from bus import files, schema
from bus.run import Run

FOLDER = "original"
RECALLED, TOOLS, CALLS = "recalled.json", "tools.json", "tools/*.json"
SOURCES, TIMES, TEXTS = "sources.jsonl", "retrieved.json", "sources/*.md"
FETCHED = "url:"  # how the origin of a source begins that another read would not bring again
BROUGHT = (RECALLED, TOOLS, CALLS, SOURCES, TIMES, TEXTS)


def is_replayed(folder: Path) -> bool:
    """True for a run that is answered from call files alone: no model, no key and no tool is needed for it."""
    return (folder / SERVICE / REPLAY).exists()


class Original:
    """What the original of a replay replied in one step and round, as far as it was brought; else it has nothing."""

    def __init__(self, run: Run, step: str, round: int) -> None:
        self.folder = run.folder / SERVICE / FOLDER / step / f"r{round}"

    def names(self, pattern: str) -> list[str]:
        """The artifacts that match, sorted."""
        found = (str(path.relative_to(self.folder)) for path in self.folder.rglob("[!.]*") if path.is_file())
        return sorted(name for name in found if fnmatch.fnmatchcase(name, pattern))

    def read(self, name: str, kind: str | None = None) -> Any:
        """An artifact: a dict for .json, a list of dicts for .jsonl, else text; None where there is none.

        Raises BadFile, and Invalid where it breaks the schema `kind`.
        """
        try:
            data = files.read_bytes(self.folder / files.inside(name))
        except FileNotFoundError:
            return None
        if name.endswith(".jsonl"):
            return [schema.check(files.parse(line, name), kind) for line in data.splitlines()]
        return schema.check(files.parse(data, name), kind) if name.endswith(".json") else data.decode("utf-8")
