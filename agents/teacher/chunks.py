"""Cut a source into chunks that fit a prompt: pieces of the file, at its own headings where that can be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

LONGEST = 4000  # characters, some 1,000 tokens: four prompts share it, and five facts are found in it
SHORTEST = 200  # characters; less is a heading with a line, and holds no question that four kinds could ask

_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_BREAKS = ("\n\n", "\n", ". ", " ")  # where a section that is too long is cut, the best first


@dataclass(frozen=True)
class Chunk:
    """One piece of a source, `text == source[start:end]`."""

    source: str
    start: int
    end: int
    text: str

    @property
    def key(self) -> str:
        return f"{self.source}:{self.start}"

    @property
    def heading(self) -> str:
        """The first heading in it, "" if it has none."""
        found = _HEADING.search(self.text)
        return found[1].strip() if found else ""


def chunks(texts: Mapping[str, str]) -> list[Chunk]:
    """The chunks of every source {id: text}, in order; blank ones and those under SHORTEST are left out."""
    found = []
    for source in sorted(texts):
        text = texts[source]
        for start, end in joined(text):
            if len(text[start:end].strip()) >= SHORTEST:
                found.append(Chunk(source, start, end, text[start:end]))
    return found


def joined(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of chunks: neighbouring sections put together while they fit, longer ones cut."""
    begin = end = 0
    for start, stop in sections(text):
        if end > begin and stop - begin > LONGEST:
            yield begin, end
            begin = start
        end = stop
    if end > begin:
        yield begin, end


def sections(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of what stands between headings, each at most LONGEST characters."""
    marks = sorted({0, *(match.start() for match in _HEADING.finditer(text)), len(text)})
    for start, stop in pairwise(marks):
        while stop - start > LONGEST:
            cut = best_break(text, start, start + LONGEST)
            yield start, cut
            start = cut
        yield start, stop


def best_break(text: str, start: int, stop: int) -> int:
    """Where to cut within text[start:stop]: after the last of the best breaks that leaves at least half."""
    for mark in _BREAKS:
        at = text.rfind(mark, start + (stop - start) // 2, stop)
        if at >= 0:
            return at + len(mark)
    return stop
