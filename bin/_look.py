"""Look at a run: find its folder, tell its steps as rows, its spending and its verdict. Reads only."""

from __future__ import annotations

import _start

import contextlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from agents._ask import SERVICE
from agents._codes import USAGE
from agents.models.ledger import NAME as LEDGER
from agents.models.ledger import Tally
from bus import files, locks, schema, tries
from bus.mailbox import order
from bus.run import FOREVER, Run, round_of

SLICES = ("taught", "unseen", "general")


def find_run(command: str, name: str) -> Path:
    """The folder of a run, by path or bare name (runs/NAME); ends with one line and exit 2 if there is none."""
    paths = [Path(name)] + ([Path(_start.ROOT) / "runs" / name] if os.sep not in name else [])
    for path in paths:
        if (path / "run.json").is_file():
            return path.absolute()
    there = sorted(path.parent.name for path in (Path(_start.ROOT) / "runs").glob("[!.]*/run.json"))
    known = f"there are {', '.join(there)}" if there else "there are no runs yet; start one with 'make pipeline GOAL=…'"
    click.echo(f"bin/{command}: {name}: is no run (no run.json in it); {known}", err=True)
    sys.exit(USAGE)


@dataclass(frozen=True)
class Row:
    """One request of one step, as `bin/status` tells it."""

    step: str
    id: str
    state: str
    tries: int
    seconds: float
    usd: float
    now: str = ""  # what its agent does at this moment

    def public(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "now"}


def show(path: Path) -> str:
    """A path as a person would type it here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("../..") else str(path)


def heartbeat(run: Run) -> dict[str, Any] | None:
    """The supervisor's last heartbeat while it lives, else None."""
    home = run.folder / "supervisor"
    if not locks.is_held(home / "lock"):
        return None
    with contextlib.suppress(FileNotFoundError, files.BadFile, schema.Invalid):
        return dict(schema.check(files.read_json(home / "heartbeat.json"), "heartbeat.v1"))
    return None


def stopped(run: Run) -> str:
    """Why the supervisor ended before the run was done, as it said last: `; it ended by the budget: …`, or ""."""
    with contextlib.suppress(FileNotFoundError, files.BadFile, schema.Invalid):
        beat = schema.check(files.read_json(run.folder / "supervisor" / "heartbeat.json"), "heartbeat.v1")
        if beat["state"] == "budget":
            return f"; it ended when the budget was spent: {beat.get('why', '').removeprefix('budget: ')}"
    return ""


def rows(run: Run, beat: dict[str, Any] | None = None) -> list[Row]:
    """Every step's requests by round and step; steps of a wanted round that nobody asked yet are `waiting`."""
    agents = (beat or {}).get("agents", {})
    looks = {step.name: run.mailbox(step.name).listing() for step in run.steps}
    ids = {id for look in looks.values() for id in look.requests | look.replies | look.dead if round_of(id)}
    ids |= {f"r{n}" for n in range(1, (1 if run.rounds >= FOREVER else run.rounds) + 1)}
    return [_row(run, step.name, id, agents.get(step.name, {})) for id in sorted(ids, key=order) for step in run.steps]


def _row(run: Run, step: str, id: str, agent: dict[str, Any]) -> Row:
    mailbox = run.mailbox(step)
    state = mailbox.state(id) or "waiting"
    if state == "done":
        with contextlib.suppress(files.BadFile, schema.Invalid):
            if reply := run.reply(step, round_of(id) or 1):
                return Row(step, id, state, len(reply["tries"]) + 1, reply["seconds"], reply["usd"])
    history = tries.all_tries(mailbox.work(id))
    mine = agent.get("claim") == id
    now = str(agent.get("say", "")) if mine else ""
    if state == "failed":
        now = "; ".join(str(one.summary()["message"]) for one in history[-1:])
    return Row(step, id, state, len(history), round(float(agent.get("age_s", 0.0)), 1) if mine else 0.0, 0.0, now)


def spend(run: Run) -> dict[str, float]:
    """What the committed replies cost, summed, and what model calls have spent or reserved."""
    replied, _ = run.listings()
    keys = ("usd", "gpu_s", "seconds", "cpu_s")
    total = {key: round(sum(float(reply[key]) for reply in replied.values()), 3) for key in keys}
    calls = Tally(run.folder / SERVICE / LEDGER).look()
    return total | {"usd": round(total["usd"] + calls.usd, 6), "tokens": calls.tokens}


def run_state(run: Run, found: list[Row]) -> str:
    """One word for the run: done, or the most telling state among its rows."""
    states = [row.state for row in found]
    if all(state == "done" for state in states) and run.rounds < FOREVER:
        return "done"
    if "running" in states:
        return "running"
    if run.hold.exists():
        return "held"
    return next((state for state in ("dead", "failed") if state in states), "waiting")


def verdict(run: Run) -> dict[str, Any] | None:
    """The newest verdict.json, checked; None where there is none."""
    for path in sorted(run.folder.glob("*/outbox/r*/verdict.json"), key=lambda path: order(path.parts[-2]))[::-1]:
        with contextlib.suppress(FileNotFoundError, files.BadFile, schema.Invalid):
            return dict(schema.check(files.read_json(path), "verdict.v1"))
    return None


def document(run: Run) -> dict[str, Any]:
    """How a run stands, for programs: what `bin/status --json` prints."""
    found = rows(run, heartbeat(run))
    judged = verdict(run)
    return {
        "run": run.name,
        "state": run_state(run, found),
        "steps": [row.public() for row in found],
        "spend": spend(run),
        "verdict": {name: judged["slices"][name]["verdict"] for name in SLICES} if judged else None,
    }
