"""A page as a list of sections and blocks, and its Markdown form. Every text in it is foreign until it is escaped.

Questions, answers, error messages and topic names come from documents and from models: none of them may become a
link, an image, a tag or a terminal's control sequence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 600  # characters of an answer that a reader compares; more hides the next pair
_HIDDEN = {"Cc", "Cs", "Co", "Cn"}  # control characters, lone surrogates, private and unassigned ones
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # change reading order
_MARKS = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|&(?=[#\w]+;)")
_OPENINGS = re.compile(r"^([#=+-]|\d+(?=[.)](?:\s|$)))")  # what makes a line a heading, a rule or a list
_FENCES = re.compile(r"`+")


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Points:
    items: Sequence[str]
    numbered: bool = False


@dataclass(frozen=True)
class Table:
    """Cells are plain text. Columns whose number is in `figures` are aligned to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Chart:
    """A drawing made by `agents.pages.charts`, which has escaped its texts; `says` is the same in words."""

    svg: str
    says: str


@dataclass(frozen=True)
class Pair:
    """One item, and what base and specialist said to it; `notes` are their scores in words."""

    label: str
    question: str
    reference: str
    answers: Sequence[tuple[str, str, str]]  # (who, what it said, its score)


Block = Paragraph | Points | Table | Chart | Pair


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


def plain(text: str) -> str:
    """The text without characters that control a terminal, turn the reading order or cannot be encoded."""
    return "".join(
        "\ufffd" if c in _TURNING or (unicodedata.category(c) in _HIDDEN and c not in "\n\t") else c for c in text
    )


def shorten(text: str, limit: int = SHOWN) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole page as Markdown, ending in one newline."""
    parts = [f"# {inline(title)}"]
    for section in sections:
        parts.append(f"## {inline(section.title)}")
        parts += [block_markdown(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def inline(text: str) -> str:
    """One line of Markdown that shows the text as it is: no mark-up of the text's own survives."""
    return _MARKS.sub(r"\\\g<0>", " ".join(plain(text).split()))


def line(text: str) -> str:
    """`inline` for a text that begins a line, where a dash or a number would make it a list."""
    return _OPENINGS.sub(lambda found: f"{found[1]}\\" if found[1].isdigit() else f"\\{found[1]}", inline(text))


def block_markdown(block: Block) -> str:
    match block:
        case Paragraph(text):
            return line(text)
        case Points(items, numbered):
            return "\n".join(f"{f'{n}.' if numbered else '-'} {line(item)}" for n, item in enumerate(items, 1))
        case Table():
            return table_markdown(block)
        case Chart(_, says):
            return line(f"(drawn in report.html) {says}")
        case Pair():
            return pair_markdown(block)


def table_markdown(table: Table) -> str:
    rules = ["--:" if column in table.figures else "---" for column in range(len(table.head))]
    lines = [[inline(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [[inline(cell) for cell in table.head], rules, *lines])


def pair_markdown(pair: Pair) -> str:
    said = [("wanted", pair.reference, ""), *pair.answers]
    parts = [f"**{inline(pair.label)}** {inline(pair.question)}"]
    parts += [f"{line(who)}{f' ({inline(score)})' if score else ''}:\n\n{fenced(text)}" for who, text, score in said]
    return "\n\n".join(parts)


def fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text, so that the text cannot end it."""
    shown = plain(shorten(text)) or "(nothing)"
    fence = "`" * max(3, 1 + max((len(run) for run in _FENCES.findall(shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"
