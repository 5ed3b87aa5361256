"""Try MCP servers that others wrote with our client, and a client that others wrote with bin/mcp.

    make mcp-servers                     all of them, a minute or two; npm and PyPI must be reachable
    python -m tests.foreign git fetch    those whose names hold one of these words

They are installed into a temporary folder and go with it. Exit 1 if something did not hold, or could not be tried.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from agents._tools import NoServer
from tests.foreign.install import NPM, install, version
from tests.foreign.trials import TRIALS, Held

SDK = "@modelcontextprotocol/sdk"


@click.command(epilog="Example: python -m tests.foreign git fetch")
@click.argument("words", nargs=-1)
def foreign(words: tuple[str, ...]) -> None:
    """Try servers and a client that others wrote, and print what held and what did not."""
    os.environ["CANARY_API_KEY"] = "canary"  # which no server may see
    chosen = [name for name in TRIALS if not words or any(word in name for word in words)]
    with tempfile.TemporaryDirectory(prefix="foreign-") as temporary:
        folder = Path(temporary).resolve() / "installed"
        folder.mkdir()
        click.echo("installing them into a temporary folder", err=True)
        missing = install(folder)
        missing[SDK] = missing.get(NPM[0], "")  # it comes with those
        found = {name: list(trial(name, folder, missing.get(name, ""))) for name in chosen}
        versions = {name: version(folder, name) for name in chosen}
    click.echo("\n| program | version | held | seen |\n| --- | --- | --- | --- |")
    for name, held in found.items():
        for what, whether, seen in held:
            click.echo(f"| {name} | {versions[name]} | {'' if whether else '**NO**: '}{what} | {plain(seen)} |")
    raise SystemExit(0 if all(whether for held in found.values() for _, whether, _ in held) else 1)


def trial(name: str, folder: Path, missing: str) -> Iterator[Held]:
    """What held of one program; one that cannot be tried is one row that says why."""
    if missing:
        yield "it can be tried", False, missing
        return
    home = folder.parent / name.rpartition("/")[2]
    home.mkdir()
    try:
        yield from TRIALS[name](folder, home)
    except NoServer as error:
        yield "it starts", False, str(error)


def plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:80]


if __name__ == "__main__":
    foreign()
