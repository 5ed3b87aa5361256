"""Try the bus on shared file systems: real ones of Debian's, each with two clients on this machine.

    make sharedfs                        all of them, four minutes
    python -m tests.sharedfs moosefs     one

As root it installs what is missing. Servers, mounts and networks live in namespaces that end with the trial. Exit 1 if
a promise was broken, or if a file system could not be tried.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tests.sharedfs.filesystem import FileSystem
from tests.sharedfs.inside import ALL
from tests.sharedfs.install import install, version
from tests.sharedfs.row import LABELS

LIMIT_S = 240  # for one file system, of which the slowest takes a minute: past this something hangs
NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL"),  # even if this program is killed
    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
)


@click.command(epilog="Example: python -m tests.sharedfs moosefs sshfs")
@click.argument("names", nargs=-1, type=click.Choice([one.name for one in ALL]))
@click.option("--seed", default=1, show_default=True, help="Another seed kills at other moments.")
def sharedfs(names: tuple[str, ...], seed: int) -> None:
    """Try the bus on shared file systems, and print what held and what did not."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = [one for one in ALL if not names or one.name in names]
    missing = install(chosen)
    found = {one: {"not tried": why} if (why := missing.get(one)) else trial(one, seed) for one in chosen}
    click.echo("\n".join(table(found)))
    raise SystemExit(1 if any(map(failed, found.values())) else 0)


def trial(fs: type[FileSystem], seed: int) -> dict[str, Any]:
    """{label: row} of one file system; its rows are printed as they come."""
    cells: dict[str, Any] = {}
    began = time.monotonic()
    for said in inside(fs, seed):
        if why := said.get("not_tried"):
            click.echo(f"{fs.name}: not tried: {why}", err=True)
            cells["not tried"] = why
            continue
        row = said["row"]
        cells[row["label"]] = row
        held = f"BROKEN: {row['broken']}" if row["broken"] else "held"
        click.echo(f"{fs.name}: {row['label']}: {row['cell']}\n    {row['detail']}: {held}")
    click.echo(f"{fs.name}: {time.monotonic() - began:.0f} s", err=True)
    return cells


def inside(fs: type[FileSystem], seed: int) -> Iterator[dict[str, Any]]:
    """What the trials inside the namespaces say; on the way out, in whatever way, nothing of them is left."""
    folder = Path(tempfile.mkdtemp(prefix="sharedfs-"))
    command = [*NAMESPACES, sys.executable, "-m", "tests.sharedfs.inside", fs.name, str(folder), str(seed)]
    errors = folder / "errors.txt"
    with errors.open("wb") as file:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, start_new_session=True)
    limit = threading.Timer(LIMIT_S, child.kill)
    limit.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            yield json.loads(line)
        if child.wait():
            tail = " / ".join(errors.read_text("utf-8", "replace").splitlines()[-3:])
            yield {"not_tried": f"it ended by exit {child.returncode} (at most {LIMIT_S} s): {tail}"}
    finally:
        limit.cancel()
        child.kill()
        child.wait()
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the folder of a trial; servers that were just killed may still write there for a moment."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    click.echo(f"{folder}: could not be removed; remove it by hand", err=True)


def failed(cells: dict[str, Any]) -> bool:
    return "not tried" in cells or any(row["broken"] for row in cells.values())


def table(found: dict[type[FileSystem], dict[str, Any]]) -> Iterator[str]:
    """The Markdown table for the README."""
    heads = [" ".join(filter(None, (fs.title, version(fs.packages[0]), fs.how))) for fs in found]
    yield f"\n| | {' | '.join(heads)} |"
    yield f"| --- |{' --- |' * len(heads)}"
    for label in LABELS:
        cells = [_cell(cells.get(label)) for cells in found.values()]
        yield f"| {label} | {' | '.join(cells)} |"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not tried"
    return f"**NO**: {row['cell']}" if row["broken"] else row["cell"]


if __name__ == "__main__":
    sharedfs()
