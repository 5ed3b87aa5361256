"""Tell people things: an end in one line, progress, tables, and text that others wrote, made safe to print."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

import click

from _look import find_run
from agents._codes import FAILED, USAGE

if TYPE_CHECKING:
    from bus.mailbox import Mailbox
    from bus.run import Run

MAX_LINE = 2000  # characters of one line that are shown: more hides the lines around it
PATIENCE_S = 2.0  # a command that takes longer says what it is doing, as often
# Escape sequences: CSI, then strings that BEL or ST ends (OSC, DCS, …), then two-character ones.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Controls, half characters of broken encodings, and marks that turn the direction of what follows.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Trouble(click.ClickException):
    """An end that is told in one line, `bin/x: where: what; what to do`, with its exit code."""

    def __init__(self, command: str, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.command = command
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(f"bin/{self.command}: {plain(self.message)}", err=True)


class Patience:
    """Says on stderr what a long piece of work is at, once it has taken a while, and then now and again."""

    def __init__(self, command: str) -> None:
        self.command, self._next = command, time.monotonic() + PATIENCE_S

    def at(self, text: str) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + PATIENCE_S
            click.echo(f"bin/{self.command}: {plain(text)}", err=True)


def open_run(command: str, name: str, links: bool = False) -> Run:
    """Find a run and open it; raises Trouble, with exit 1 where it is damaged or, unless `links`, leads elsewhere."""
    from _tree import is_plain, mailboxes
    from bus.files import BadFile
    from bus.run import Run, RunError

    try:
        run = Run(find_run(command, name))
    except RunError as error:
        raise Trouble(command, str(error), FAILED) from None
    except BadFile as error:
        raise Trouble(command, f"{name}: run.json: {error}; restore it from a copy", FAILED) from None
    for mailbox in mailboxes(run):
        if not links and not is_plain(run.folder / mailbox):
            raise Trouble(
                command, f"{name}: {mailbox}: a link is in the place of a folder; see bin/check {name}", FAILED
            )
    return run


def find_mailbox(command: str, run: Run, name: str) -> Mailbox:
    """The mailbox of a step or service of a run; raises Trouble."""
    known = [step.name for step in run.steps] + sorted(run.services)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise Trouble(command, f"{run.name}: there is no mailbox {name!r}; {hint}")
    return run.mailbox(name)


def plain(text: str) -> str:
    """`text` on one line, safe to print: no escape sequences, no control characters, not endless."""
    text = _CONTROL.sub("", _ESCAPE.sub("", " ".join(text[: 4 * MAX_LINE].splitlines())).replace("\t", " "))
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…"


def table(rows: Iterable[tuple[str, ...]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as aligned lines; columns in `right` are aligned to the right, and no line ends in blanks."""
    known = [tuple(plain(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*known, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in known
    ]
