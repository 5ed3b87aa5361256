"""What a step reads: names resolved through its `reads`, each file's sha256 checked against the reply that holds it.

Every name that was read is noted with its hash; the reply says so, and a later change makes the reply stale.
"""

from __future__ import annotations

import fnmatch
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from bus import files, flow, schema
from bus.run import Run

UNTYPED = frozenset({"text", "files"})  # artifacts with no JSON Schema: prose, model weights


class GiveUp(Exception):
    """A request that a retry could not change: `where: what is wrong; what to do`. `kind="goal"`: the goal's fault."""

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class Inputs:
    """The inputs of one step in one round of a run; `read_hashes` is what was read so far."""

    def __init__(self, run: Run, step: str, round: int) -> None:
        self.run, self.step, self.round = run, step, round
        self.read_hashes: dict[str, str] = {}

    @cached_property
    def flow(self) -> flow.Step:
        return self.run.step(self.step)

    def read(self, name: str) -> Any:
        """A parsed input: dict for .json, list of dicts for .jsonl, else text; None for `before/…` if there is none."""
        path = self.path(name)
        if path is None:
            return None
        data = files.read_bytes(path, limit=sys.maxsize)
        kind = self._schema_of(name)
        if name.endswith(".json"):
            document = files.parse(data, name)
            return schema.check(document, kind) if kind else document
        if name.endswith(".jsonl"):
            rows = [files.parse(line, name) for line in data.splitlines() if line.strip()]
            return [schema.check(row, kind) for row in rows] if kind else rows
        return data.decode("utf-8")

    def path(self, name: str) -> Path | None:
        """The path of an input file or folder, its bytes checked and noted; None for `before/…` where there is none."""
        files.inside(name)
        self._allowed(name)
        step, round = flow.source(name), self.round - name.startswith(flow.BEFORE)
        if not step:
            path = self.run.folder / name
            self._note(name, path, None)
            return path
        reply = self.run.reply(step, round) if round >= 1 else None
        if reply is None:
            if name.startswith(flow.BEFORE):
                return None
            raise files.BadFile(f"{name}: {step} has no reply for round {round}")
        inner = name.removeprefix(flow.BEFORE).partition("/")[2]
        folder = self.run.folder / step / "outbox" / f"r{round}"
        prefix = name.removesuffix(inner)
        known = reply["artifacts"]
        found = [inner] if inner in known else [one for one in known if one.startswith(inner + "/")]
        if not found:
            if name.startswith(flow.BEFORE):
                return None
            raise files.BadFile(f"{name}: {step} replied without it")
        for one in found:
            self._note(prefix + one, folder / one, known[one]["sha256"])
        return folder / inner

    def glob(self, pattern: str) -> list[str]:
        """The names of inputs that match, sorted; each can be given to `read`."""
        step, round = flow.source(pattern), self.round - pattern.startswith(flow.BEFORE)
        reply = self.run.reply(step, round) if round >= 1 else None
        prefix = pattern[: pattern.index(step)] + step + "/"
        names = [prefix + one for one in (reply or {"artifacts": {}})["artifacts"]]
        return sorted(one for one in names if (fnmatch.fnmatchcase(one, pattern) or one.startswith(pattern + "/")))

    def named(self, file: str) -> str:
        """The one name among this round's `reads` that ends with `/file`, whichever step writes it; raises BadFile."""
        found = [one for one in self.flow.reads if one.endswith(f"/{file}") and not one.startswith(flow.BEFORE)]
        if len(found) != 1:
            what = "is among no reads" if not found else f"is read from {' and '.join(found)}; keep one"
            raise files.BadFile(f"{self.step}: {file}: {what}; the flow of this run is in its run.json")
        return found[0]

    def replies(self) -> list[dict[str, Any]]:
        """Every step's reply document so far, in order of round and step."""
        found, _ = self.run.listings()
        return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]

    def _allowed(self, name: str) -> None:
        patterns = self.flow.reads
        if not any(fnmatch.fnmatchcase(name, one) or one.startswith(name + "/") for one in patterns):
            raise files.BadFile(f"{self.step}: {name} is not among its reads; add it in config/swarm.yaml")

    def _note(self, name: str, path: Path, expected: str | None) -> None:
        if name in self.read_hashes:
            return
        found = files.sha256_file(path)
        if expected is not None and found != expected:
            raise GiveUp(
                f"{name}: its bytes are not those that were replied; see 'bin/check', restore or remove the reply"
            )
        self.read_hashes[name] = found

    def _schema_of(self, name: str) -> str | None:
        step = flow.source(name)
        return artifact_schema(self.run.step(step), name.removeprefix(flow.BEFORE).partition("/")[2]) if step else None


def artifact_schema(step: flow.Step, name: str) -> str | None:
    """The schema of a step's artifact, None for prose and weights; raises BadFile if the step writes no such name."""
    for pattern, kind in step.writes.items():
        if fnmatch.fnmatchcase(name, pattern):
            return None if kind in UNTYPED else kind
    raise files.BadFile(f"{step.name}: does not write {name}; add it to its `writes` in config/swarm.yaml")
