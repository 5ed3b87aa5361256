"""Read a collected Markdown source into blocks whose every piece knows its place in the file.

A block is a heading with what stands under it; a piece is a line's worth of text with a label: `Summary`, `Returns` and
so on as the collector writes them, `parameter`, `raise`, `member` or `entry` for bullets, `code` for a line in a fence,
`text` for other prose.
Offsets are Python string offsets: `source[piece.start:piece.end] == piece.text`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LABELS = (
    *("Kind", "Signature", "Bases", "Summary", "Details", "Returns", "Yields"),
    *("Note", "Warning", "See also", "Changed", "Deprecated"),
)
LISTS = {"Parameters": "parameter", "Raises": "raise", "Members": "member", "Example": "example"}

_HEADING = re.compile(r"(#{1,6}) (.+)$")
_LABELLED = re.compile(rf"({'|'.join(LABELS)}): (.+)$")
_LIST = re.compile(rf"({'|'.join(LISTS)}):$")
_BULLET = re.compile(r"[-*] (`([^`]+)`.*)$")


@dataclass(frozen=True)
class Piece:
    label: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def part(self, start: int, end: int, label: str = "") -> "Piece":
        """A piece of this piece, by offsets into its text."""
        return Piece(label or self.label, self.text[start:end], self.start + start)

    def group(self, match: re.Match[str], which: int | str) -> "Piece":
        return self.part(match.start(which), match.end(which))

    def inside(self) -> "Piece":
        """Without surrounding backticks and blanks."""
        left = len(self.text) - len(self.text.lstrip("` "))
        return self.part(left, len(self.text.rstrip("` ")))


@dataclass
class Block:
    name: Piece
    level: int
    pieces: list[Piece] = field(default_factory=list)

    def all(self, *labels: str) -> list[Piece]:
        return [piece for piece in self.pieces if piece.label in labels]

    def first(self, *labels: str) -> Piece | None:
        found = self.all(*labels)
        return found[0] if found else None

    @property
    def kind(self) -> str:
        """The object's kind as the collector wrote it, "" for headings that are no object."""
        kind = self.first("Kind")
        return kind.text if kind else ""


def read(text: str) -> list[Block]:
    """Blocks in file order."""
    blocks: list[Block] = []
    fenced, listing = False, ""
    for line, start in _lines(text):
        if line.startswith("```"):
            fenced = not fenced
        elif (found := _HEADING.match(line)) and not fenced:
            blocks.append(Block(_piece("heading", found, 2, start), len(found[1])))
            listing = ""
        elif line.strip() and blocks:
            if found := _LIST.match(line):
                listing = LISTS[found[1]]
                continue
            piece = Piece("code", line, start) if fenced else _labelled(line, start, listing)
            listing = listing if piece.label in (listing, "code") else ""
            blocks[-1].pieces.append(piece)
    return blocks


def _labelled(line: str, start: int, listing: str) -> Piece:
    if found := _LABELLED.match(line):
        return _piece(found[1], found, 2, start)
    if found := _BULLET.match(line):
        return _piece(listing or "entry", found, 1, start)
    return Piece("text", line, start)


def _piece(label: str, match: re.Match[str], which: int, start: int) -> Piece:
    return Piece(label, match[which], start + match.start(which))


def _lines(text: str) -> Iterator[tuple[str, int]]:
    start = 0
    for line in text.split("\n"):
        yield line, start
        start += len(line) + 1
