"""Try to break the bus, and print what was tried.

    make crash                               every part, a few minutes
    python -m tests.crash --seed 7 kills     one part, with another seed
    python -m tests.crash --quick            the short form that `make test` runs

Exit 1 if a promise was broken: its row says how, and with which seed.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tests.crash.row import Row

PARTS = ("steps", "kills", "races", "power", "disk", "input", "moves", "blind", "model", "calls")


def rows(part: str, seed: int, quick: bool) -> Iterator[Row]:
    """The rows of one part, each as soon as it is known. A part gets an empty folder of its own."""
    with tempfile.TemporaryDirectory(prefix=f"crash-{part}-") as folder:
        yield from importlib.import_module(f"tests.crash.{part}").run(Path(folder), seed, quick)


@click.command(epilog="Example: python -m tests.crash --seed 7 kills races")
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--seed", default=1, show_default=True, help="Another seed tries other moments and orders.")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes.")
def crash(parts: tuple[str, ...], seed: int, quick: bool) -> None:
    """Try to break the bus, and print what was tried."""
    broken = 0
    click.echo(f"seed {seed}\n\n| part | promise | tried | |\n| --- | --- | --- | --- |")
    for part in parts or PARTS:
        began = time.monotonic()
        for row in rows(part, seed, quick):
            broken += bool(row.broken)
            click.echo(
                f"| {part} | {row.promise} | {row.tried} | {'**' + row.broken + '**' if row.broken else 'held'} |"
            )
        click.echo(f"{part}: {time.monotonic() - began:.0f} s", err=True)
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    crash()
