"""How a run ended, told at a terminal: what it came to, what it lacks, or why it stopped and how to go on."""

from __future__ import annotations

import time

import click

from _look import SLICES, show, spend, verdict
from _models import Letters, lacking_told
from agents._ask import SERVICE
from agents._codes import DONE, FAILED, GAVE_UP, INTERRUPTED, USAGE
from agents.models.ledger import NAME as LEDGER
from bus import files
from bus.run import Run


def conclude(run: Run, began: float) -> int:
    """Say how the run ended, in a few lines."""
    try:
        beat = files.read_json(run.folder / "supervisor" / "heartbeat.json")
    except (FileNotFoundError, files.BadFile):
        beat = {"state": "lost", "why": f"see {show(run.folder / 'supervisor' / 'guard.log')}"}
    if beat["state"] == "done":
        for line in (*ending(run), *lacks(run)):
            click.echo(line)
        click.echo(f"report: {newest_report(run)}   this command: {time.monotonic() - began:.0f} s")
        return DONE
    if message := goal_at_fault(run):
        files.remove_tree(run.folder)
        click.echo(f"bin/pipeline: {message}", err=True)
        return USAGE
    click.echo(f"{run.name}: {told_end(beat)}", err=True)
    if beat["state"] == "stopped":
        return INTERRUPTED
    if beat["state"] in ("working", "held"):
        click.echo("its supervisor and its guard are gone; the same command goes on", err=True)
        return FAILED
    if beat["state"] == "dead":
        for step in run.steps:
            for id in sorted(run.mailbox(step.name).listing().dead):
                click.echo(f"once its cause is mended: bin/retry {show(run.folder)} {step.name} {id}", err=True)
    return GAVE_UP


def told_end(beat: dict[str, str]) -> str:
    """Why a run ended before it was done; of a budget also what that stopped, and how to go on."""
    if beat["state"] != "budget":
        return f"{beat['state']}: {beat['why']}"
    said, _, advice = beat["why"].partition("; ")
    again = ", then the same command goes on where it was" if advice.startswith("raise") else ""
    return f"{said}: the run ends here, and nothing of it is lost; for more, {advice}{again}"


def goal_at_fault(run: Run) -> str:
    """The message of a first-round dead letter that blames the goal, so that the run is taken back; "" for none.

    A run that has asked a model stays: its answers were paid for.
    """
    if (run.folder / SERVICE / LEDGER).exists():
        return ""
    for number, step in enumerate(run.steps):
        try:
            letter = files.read_json(run.folder / step.name / "dead" / "r1.json")
        except (FileNotFoundError, files.BadFile):
            continue
        further = any(run.mailbox(later.name).answered("r1") for later in run.steps[number:])
        return str(letter["message"]) if letter.get("kind") == "goal" and not further else ""
    return ""


def newest_report(run: Run) -> str:
    """The newest report's path, as a person would type it; the run's folder where the flow makes none."""
    found = sorted(run.folder.glob("*/outbox/r*/report.html"), key=lambda path: (len(path.parts[-2]), path.parts[-2]))
    return show(found[-1]) if found else show(run.folder)


def ending(run: Run) -> list[str]:
    """What a finished run came to, in a few lines: cost, then one line for each slice."""
    cost = spend(run)
    lines = [f"{run.name}: done; steps took {cost['seconds']:.0f} s, {cost['cpu_s']:.0f} s of CPU, ${cost['usd']:.2f}"]
    for name in SLICES if (found := verdict(run)) else ():
        one = found["slices"][name] if found else {}
        figures = f"base {one['base']:.3f}, specialist {one['specialist']:.3f}, difference {one['difference']:+.3f}"
        interval = f"[{one['low']:+.3f}, {one['high']:+.3f}], n {one['n']}"
        lines.append(f"  {name:8} {one['verdict']:12} {one['measure']}: {figures} {interval}")
    return lines


def lacks(run: Run) -> list[str]:
    """A line on the answers of models that its steps went without, if any did."""
    (letters := Letters(run)).look()
    return list(lacking_told(run, letters))
