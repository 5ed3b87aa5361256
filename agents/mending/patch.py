"""The difference between a script and its mended copy, for people: a unified diff, and one reason a change."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from agents.mending.splice import Change


def diff(before: str, after: str, name: str) -> str:
    """Return the unified diff of two texts; `patch -p0` applies it to a file of that name."""
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    # The format marks a last line without its end; difflib leaves that to its caller.
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def reasons(changes: Sequence[Change], name: str) -> str:
    """Return one line for each change: where, what, why."""
    return "".join(f"{name}:{one.line}: {one.what}; {one.why}\n" for one in changes)
