"""Show a run while it works: a table at a terminal, one line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from _look import Row, heartbeat, rows, show
from _models import Letters, budget_told, out_of_reach, with_wait
from _tell import plain
from bus.mailbox import order
from bus.run import Run

PLAIN_EVERY_S = 10.0  # between two progress lines of one step where there is no terminal
MAX_SAID = 60  # characters of what an agent says that fit a table


class Live:
    """A context that shows a run; call `show()` every `every_s` seconds."""

    every_s = 0.5

    def __init__(self, run: Run) -> None:
        self.run = run
        self._table: Any = None
        self._lacks: set[str] = set()
        self._states: dict[tuple[str, str], str] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._down: set[str] = set()  # what could not be reached when we last looked
        self._letters = Letters(run)
        self._letters.look()
        self._spent = set(self._letters.budgets())  # budgets whose end was told, or came before us

    def __enter__(self) -> Live:
        if sys.stdout.isatty():
            from rich.live import Live as Screen

            self._table = Screen(refresh_per_second=4, transient=False)
            self._table.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._table is not None:
            self._table.__exit__(*error)

    def show(self, final: bool = False) -> None:
        beat = heartbeat(self.run)
        found = rows(self.run, beat)
        if self._table is not None:
            self._table.update(table(self.run, found, beat), refresh=final)
        else:
            self._plain(found, (beat or {}).get("agents", {}))
            self._reach(beat)
        for line in (beat or {}).get("lacks", ()):
            if line not in self._lacks:
                self._lacks.add(line)
                click.echo(f"note: {plain(line)}")
        self._budgets()

    def _budgets(self) -> None:
        """Tell the end of each budget for model calls, once."""
        self._letters.look()
        for name, message in self._letters.budgets().items():
            if name not in self._spent:
                self._spent.add(name)
                then = f", then see bin/status {show(self.run.folder)}"
                click.echo(plain(budget_told(name, message, then)))

    def _reach(self, beat: dict[str, Any] | None) -> None:
        """Tell what cannot be reached, once until it can be again."""
        now = dict(out_of_reach(beat))
        for line in now.keys() - self._down:
            click.echo(plain(with_wait(line, now[line])))
        self._down = set(now)

    def _plain(self, found: list[Row], agents: dict[str, Any]) -> None:
        for row in found:
            key = (row.step, row.id)
            before, self._states[key] = self._states.get(key, "waiting"), row.state
            if row.state != before:
                more = f", {row.seconds:.1f} s" if row.seconds else ""
                why = f": {plain(row.now)}" if row.state == "failed" else ""
                click.echo(f"{row.id} {row.step}: {row.state}{more}{why}")
            numbers = agents.get(row.step, {}).get("numbers", {})
            said = f"{plain(row.now)}  {progress(numbers)}".strip() if row.now else ""
            if said and row.state == "running" and self._news(row.step, said):
                click.echo(f"{row.id} {row.step}: {said}")

    def _news(self, step: str, said: str) -> bool:
        """True if a step says something new, and not more often than every ten seconds."""
        text, since = self._said.get(step, ("", 0.0))
        if said == text or (text and time.monotonic() - since < PLAIN_EVERY_S):
            return False
        self._said[step] = (said, time.monotonic())
        return True


def table(run: Run, found: list[Row], beat: dict[str, Any] | None) -> Any:
    """The live table of the newest round, and below it what cannot be reached."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    made = Table(title=f"{run.name}: {(beat or {}).get('state', 'starting')}", title_justify="left", box=None)
    for name, right in (("step", 0), ("", 0), ("state", 0), ("try", 1), ("seconds", 1), ("now", 0), ("progress", 0)):
        made.add_column(name, justify="right" if right else "left", no_wrap=True)
    last = max((row.id for row in found if row.state != "waiting"), key=order, default="r1")
    agents = (beat or {}).get("agents", {})
    for row in (row for row in found if row.id == last):
        numbers = agents.get(row.step, {}).get("numbers", {}) if row.state == "running" else {}
        seconds = f"{row.seconds:.1f}" if row.seconds else ""
        said = Text(plain(row.now)[:MAX_SAID])
        count = str(row.tries or "")
        made.add_row(
            row.step, row.id, Text(row.state, style=STYLES.get(row.state, "")), count, seconds, said, progress(numbers)
        )
    return Group(made, *(Text(plain(with_wait(*one)), style="yellow") for one in out_of_reach(beat)))


STYLES = {"done": "green", "running": "bold", "failed": "yellow", "dead": "red", "held": "yellow"}


def progress(numbers: dict[str, Any]) -> str:
    """`40/300  loss 2.10` from the numbers that an agent told."""
    parts = [f"{numbers['step']:.0f}/{numbers['total']:.0f}"] if {"step", "total"} <= numbers.keys() else []
    parts += [f"loss {numbers['loss']:.3f}"] if "loss" in numbers else []
    return "  ".join(parts)
