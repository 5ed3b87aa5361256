"""Turn the lines of a notebook export that only IPython understands into comments."""

from __future__ import annotations

import ast
import re

from agents.mending.splice import Change

SHELL = re.compile(r"^(\s*)((?:[\w.]+(?:\s*,\s*[\w.]+)*\s*=\s*)?(?:!|%).*|\?\??[\w.]+|[\w.]+\?\??)\s*$")
IPYTHON = re.compile(r"^(\s*)(get_ipython\(\)\.(?:system|getoutput|run_line_magic|run_cell_magic|magic)\(.*\))\s*$")
WHY = "a notebook's line, which only IPython runs"
SKIP = "pass  # "


def plain(text: str) -> tuple[str, list[Change]]:
    """Return the text with such lines as comments, line for line; only lines that Python itself refuses are touched.

    A `!` or `%` inside a string is left alone, because the parser never points at it.
    """
    lines = text.split("\n")
    changes: list[Change] = []
    for number, line in enumerate(lines, 1):
        if found := IPYTHON.match(line):
            lines[number - 1] = f"{found[1]}{SKIP}{found[2]}"
            changes.append(Change(number, "commented out a call of get_ipython", WHY))
    for _ in range(len(lines)):
        at = _refused(lines)
        if at is None:
            break
        changes += _comment_out(lines, at)
    return "\n".join(lines), sorted(changes, key=lambda one: one.line)


def _refused(lines: list[str]) -> int | None:
    """Return the line (from 1) of IPython's syntax that the parser stops at; None where it stops at none."""
    try:
        ast.parse("\n".join(lines))
    except (SyntaxError, ValueError) as error:
        at = getattr(error, "lineno", None) or 0
        # The parser may stop at the line after, when the line alone could still have gone on.
        for number in (at, at - 1):
            if 1 <= number <= len(lines) and SHELL.match(lines[number - 1]):
                return number
    return None


def _comment_out(lines: list[str], at: int) -> list[Change]:
    """Comment a line out, and those that its backslashes join to it."""
    changes = []
    goes_on = True
    indent = lines[at - 1][: len(lines[at - 1]) - len(lines[at - 1].lstrip())]
    while goes_on and at <= len(lines):
        line = lines[at - 1]
        goes_on = line.rstrip().endswith("\\")
        # `pass`, because the line may be all that a block has; the mark of a joined line must not join its comment.
        lines[at - 1] = f"{indent}{SKIP}{line.strip().removesuffix(chr(92)).rstrip()}"
        changes.append(Change(at, f"commented out `{line.strip()[:60]}`", WHY))
        at += 1
    return changes
