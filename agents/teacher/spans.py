"""Find where a quotation stands in its source, letter by letter but for blanks."""

from __future__ import annotations

from agents.asking.material import restored
from agents.teacher.chunks import Chunk

_AROUND = "\"'“”„«»"  # quotation marks that models put around what they quote


def find(span: str, chunk: Chunk) -> tuple[int, int] | None:
    """(start, end) in the source of the first place where the span stands in the chunk; None if it does not.

    Runs of blanks count as one, on both sides; everything else must be the same, case too.
    """
    text, places = folded(chunk.text)
    for wanted in dict.fromkeys((span, restored(span), span.strip().strip(_AROUND))):
        sought = " ".join(wanted.split())
        at = text.find(sought) if sought else -1
        if at >= 0:
            return chunk.start + places[at], chunk.start + places[at + len(sought) - 1] + 1
    return None


def folded(text: str) -> tuple[str, list[int]]:
    """The text with runs of blanks as one, and for each of its characters the place of the first it stands for."""
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        if not letter.isspace():
            letters.append(letter)
            places.append(place)
        elif not letters or letters[-1] != " ":
            letters.append(" ")
            places.append(place)
    return "".join(letters), places
