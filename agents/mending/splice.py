"""Change a text in places and leave every other byte as it is, and know which line each new line came from."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from itertools import combinations


@dataclass(frozen=True)
class Change:
    """One mend: the line of the original, what was done, and why."""

    line: int
    what: str
    why: str


@dataclass(frozen=True)
class Splice:
    """Bytes start to end are replaced; start == end inserts."""

    start: int
    end: int
    new: str


@dataclass
class Mend:
    """Splices that belong together: all of them are applied, or none. `line` of a change is of the text as parsed."""

    splices: list[Splice]
    changes: list[Change] = field(default_factory=list)


class Text:
    """A source text addressed by the byte columns of `ast`, with the original line of each of its lines."""

    def __init__(self, text: str, origin: list[int] | None = None) -> None:
        self.data = text.encode("utf-8")
        lines = self.data.split(b"\n")
        self.starts = [0]
        for line in lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.origin = origin if origin is not None else list(range(1, len(lines) + 1))

    def at(self, line: int, column: int) -> int:
        """Return the byte offset of a line (from 1) and byte column (from 0)."""
        return self.starts[line - 1] + column

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the byte offsets of a node; its parentheses are not part of it."""
        line, column = getattr(node, "lineno"), getattr(node, "col_offset")  # noqa: B009  # not every node has them
        return self.at(line, column), self.at(getattr(node, "end_lineno"), getattr(node, "end_col_offset"))  # noqa: B009

    def of(self, node: ast.AST) -> str:
        """Return a node's own source."""
        start, end = self.span(node)
        return self.data[start:end].decode("utf-8")

    def line_start(self, offset: int) -> int:
        return self.data.rfind(b"\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        found = self.data.find(b"\n", offset)
        return len(self.data) if found < 0 else found

    def begins_line(self, offset: int) -> bool:
        return not self.data[self.line_start(offset) : offset].strip()

    def indent(self, offset: int) -> str:
        """Return the whitespace that the line of an offset begins with."""
        start = self.line_start(offset)
        line = self.data[start : self.line_end(offset)]
        return line[: len(line) - len(line.lstrip())].decode("utf-8")

    def apply(self, mends: list[Mend]) -> tuple[Text, list[Change]]:
        """Apply what does not overlap, earlier mends first; return the new text and the changes in it."""
        taken: list[Splice] = []
        changes: list[Change] = []
        for mend in mends:
            own = all(_apart(one, other) for one, other in combinations(mend.splices, 2))
            if own and all(_apart(one, other) for one in mend.splices for other in taken):
                taken += [one for one in mend.splices if one not in taken]
                changes += [Change(self.origin[one.line - 1], one.what, one.why) for one in mend.changes]
        return self._spliced(sorted(taken, key=lambda one: (one.start, one.end))), changes

    def _spliced(self, splices: list[Splice]) -> Text:
        pieces: list[bytes] = []
        origin = [self.origin[0]]
        place = 0
        for one in [*splices, Splice(len(self.data), len(self.data), "")]:
            kept = self.data[place : one.start]
            line = self.data.count(b"\n", 0, place)  # index of the line that the kept piece begins in
            origin += self.origin[line + 1 : line + 1 + kept.count(b"\n")]
            pieces += [kept, one.new.encode("utf-8")]
            here = self.origin[line + kept.count(b"\n")]
            origin += [here] * one.new.count("\n")
            place = one.end
        return Text(b"".join(pieces).decode("utf-8"), origin)


def _apart(one: Splice, other: Splice) -> bool:
    """Two insertions at one place get along; an insertion at the edge of a replacement, too; the same twice is once."""
    return one == other or one.end <= other.start or other.end <= one.start


def comma_after(text: Text, end: int) -> int | None:
    """Return the offset of the comma that follows an item of a list, over blanks, comments and line ends."""
    place = end
    while place < len(text.data):
        byte = text.data[place : place + 1]
        if byte == b",":
            return place
        if byte == b"#":
            place = text.line_end(place)
        elif byte.isspace() or byte == b"\\":
            place += 1
        else:
            return None
    return None


def without_all(text: Text, spans: list[tuple[int, int]], indexes: set[int]) -> list[Splice]:
    """Return the splices that take several items out: neighbours go as one, or their commas would be taken twice."""
    merged: list[tuple[int, int]] = []
    runs: list[int] = []
    for place, span in enumerate(spans):
        if place in indexes and place - 1 in indexes:
            merged[-1] = (merged[-1][0], span[1])
        else:
            merged.append(span)
            runs += [len(merged) - 1] if place in indexes else []
    return [without(text, merged, place) for place in runs]


def without(text: Text, spans: list[tuple[int, int]], index: int) -> Splice:
    """Return the splice that takes one item, its comma and its own comment out of a list of items."""
    start, end = spans[index]
    comma = comma_after(text, end)
    after = (comma + 1) if comma is not None else end
    rest = text.data[after : text.line_end(after)].strip()
    if text.begins_line(start) and (not rest or rest.startswith(b"#")):
        return Splice(text.line_start(start), min(text.line_end(after) + 1, len(text.data)), "")
    if comma is not None and (not rest or rest.startswith(b"#")) and index:
        return Splice(spans[index - 1][1], comma, "")
    if comma is not None:
        while text.data[after : after + 1] in (b" ", b"\t"):
            after += 1
        return Splice(start, after, "")
    return Splice(spans[index - 1][1] if index else start, end, "")
