"""Cut facts out of a collected source: what can be asked, and the span that answers it.

A fact has a shape (which wordings fit, `agents/_templates.py`), slots (what the wording is filled with) and an answer that
stands in the source, letter by letter: `text[start:end]` of its spans, joined by blanks, is the answer after whitespace folding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agents._blocks import Block, Piece, read
from agents._families import Node, Span
from agents._phrases import asks, first_sentence, plain, verb_phrase

SHORT = 6  # words; the exam scores such answers by exact match (schemas/example.v1.json says so too)
LONGEST_ANSWER = 32  # words; one sentence. Longer ones are lists, and a small model learns none of them
LONGEST_QUOTE = 16  # words of a description inside a question, which must stay readable (25 words in all)
LONGEST_CODE = 110  # characters of a signature or an example line
DISTINCT_DIGITS = 2  # a constant's value with fewer is the value of fifty others

_PARAMETER = re.compile(r"`(\*{0,2}\w+)`(?: \((.*?)(?:;? ?default `([^`]*)`)?\))?: (.+)$")
_RAISE = re.compile(r"`([\w.]+)`: (.+)$")
_ERROR = re.compile(r"`(\w+)` in `([\w.]+)`: (.+)$")
_NUMBERED = re.compile(r"`(\w+)` \((-?\d+)\): (.+)$")
_RAISED_FOR = re.compile(r"`(\w+)`: raised for `(\w+)`")
_CONSTANT = re.compile(r"`(\w+)` = `([^`]+)`(?:: (.+))?$")
_ENTRY = re.compile(r"`([^`]+)`: (.+)$")
_PROSE = frozenset({"", "text"})

SORTS = {"errno": "errno name", "signal": "signal", "nvml": "NVML constant"}
MET = {
    "errno": "a system call failed with {name}",
    "signal": "a process was sent {name}",
    "nvml": "NVML reports {name}",
}


@dataclass(frozen=True)
class Fact:
    shape: str
    slots: tuple[tuple[str, str], ...]
    answer: str
    spans: tuple[Span, ...]
    topic: str = ""
    catalogue: str = ""  # errno, signal or nvml for an entry of these catalogues

    @property
    def key(self) -> str:
        return hashlib.sha256(repr((self.shape, self.slots, self.answer)).encode()).hexdigest()[:20]

    @property
    def about(self) -> str:
        return " | ".join(value for name, value in self.slots if name not in ("do", "does"))

    @property
    def short(self) -> bool:
        return len(self.answer.split()) <= SHORT

    def node(self) -> Node:
        return Node(self.key, self.answer, self.about, self.spans)


@dataclass(frozen=True)
class Cutter:
    """Makes facts of one source."""

    source: str
    sort: str = ""  # errno, signal, nvml: how entries of this catalogue are spoken of

    def fact(self, shape: str, answer: Piece, **slots: str) -> Fact:
        span = (self.source, answer.start, answer.end)
        return Fact(shape, tuple(sorted(slots.items())), answer.text, (span,), catalogue=self.sort)

    def named(self, piece: Piece, **slots: str) -> Iterator[Fact]:
        """What a description (`does`, `says`) belongs to: `piece` is the name."""
        yield self.fact("named" if "does" in slots else "described", piece, **slots)


def cut(source: str, text: str, sort: str = "") -> list[Fact]:
    """Every fact of one source, in file order; `sort` names a catalogue of numbered entries."""
    cutter = Cutter(source, sort)
    found: list[Fact] = []
    title = ""
    for block in read(text):
        title = title or block.name.text
        found += _object(cutter, block) if block.kind else _section(cutter, block, title)
    return found


def checked(fact: Fact, sources: dict[str, str]) -> bool:
    """True if the spans, joined and folded, are the answer."""
    parts = [sources[source][start:end] for source, start, end in fact.spans]
    return " ".join(" ".join(parts).split()) == " ".join(fact.answer.split())


def with_topic(fact: Fact, topic: str) -> Fact:
    return replace(fact, topic=topic)


def _object(cut: Cutter, block: Block) -> Iterator[Fact]:
    name = block.name.text
    raised = block.kind == "exception"
    if summary := block.first("Summary"):
        yield from _summary(cut, block, summary, raised)
    if (found := block.first("Signature")) and "(" in found.text and len(found.text) <= LONGEST_CODE:
        signature = found.inside()
        if len(signature.text) > len(name) + len("() -> None") and "..." not in signature.text:
            yield cut.fact("signature", signature, name=name)
    yield from _parameters(cut, block)
    if found := block.first("Returns", "Yields"):
        sentence = first_sentence(found)
        if plain(sentence.text, LONGEST_ANSWER):
            yield cut.fact("returns", sentence, name=name)
    yield from _failures(cut, block)
    yield from _example(cut, block)
    for piece in block.all("entry", "member"):
        yield from _entry(cut, piece, name)


def _summary(cut: Cutter, block: Block, summary: Piece, raised: bool) -> Iterator[Fact]:
    sentence = first_sentence(summary)
    name = block.name.text
    if not plain(sentence.text, LONGEST_ANSWER) or name.rpartition(".")[2].startswith("_"):
        return
    yield cut.fact("error-summary" if raised else "summary", sentence, name=name)
    if asks(sentence.text, name, LONGEST_QUOTE):
        home = name.rpartition(".")[0]
        what = {"function": f"{home} function", "class": f"class in {home}", "enum": f"enum in {home}"}.get(
            block.kind, f"exception in {home}" if raised else f"{block.kind} of {home}"
        )
        phrase = verb_phrase(sentence.text)
        slots = {"do": phrase[0], "does": phrase[1]} if phrase else {}
        shape = "error-described" if raised else "named" if phrase else "described"
        yield cut.fact(shape, block.name, what=what, home=home, says=sentence.text.rstrip("."), **slots)


def _parameters(cut: Cutter, block: Block) -> Iterator[Fact]:
    name = block.name.text
    for piece in block.all("parameter"):
        found = _PARAMETER.match(piece.text)
        if not found or found[1].startswith("_"):
            continue
        meaning = first_sentence(piece.group(found, 4))
        if plain(meaning.text, LONGEST_ANSWER) and len(meaning.text.split()) >= 3:
            yield cut.fact("parameter", meaning, param=found[1], name=name)
            if asks(meaning.text, found[1], LONGEST_QUOTE - 4):
                yield cut.fact("parameter-named", piece.group(found, 1), name=name, says=meaning.text.rstrip("."))
        if found[3] and found[3] not in ("None", "True", "False", "...", "''", "()") and len(found[3]) <= 40:
            yield cut.fact("default", piece.group(found, 3), param=found[1], name=name)


def _failures(cut: Cutter, block: Block) -> Iterator[Fact]:
    name = block.name.text
    for piece in block.all("raise"):
        if found := _RAISE.match(piece.text):
            when = first_sentence(piece.group(found, 2))
            if plain(when.text, LONGEST_ANSWER):
                yield cut.fact("raises", when, name=name, error=found[1])
    for label in ("Warning", "Note", "Deprecated"):
        if piece := block.first(label):
            sentence = first_sentence(piece)
            if plain(sentence.text, LONGEST_ANSWER) and len(sentence.text.split()) >= 5:
                yield cut.fact("deprecated" if label == "Deprecated" else "caution", sentence, name=name)
                return


def _example(cut: Cutter, block: Block) -> Iterator[Fact]:
    last = block.name.text.rpartition(".")[2]
    for piece in block.all("code"):
        line = piece.text.removeprefix(">>> ").strip()
        start = piece.text.find(line)
        if f"{last}(" in line and not line.startswith(("#", "...", "def ", "class ", "import ")) and plain_code(line):
            yield cut.fact("example", piece.part(start, start + len(line)), name=block.name.text)
            return


def plain_code(line: str) -> bool:
    """True for one whole line of code of a readable length."""
    return 6 <= len(line) <= LONGEST_CODE and all(line.count(a) == line.count(b) for a, b in ("()", "[]", "{}"))


def _section(cut: Cutter, block: Block, title: str) -> Iterator[Fact]:
    """Facts of a heading that is no object: a catalogue, the constants or the errors of a module, prose."""
    for piece in block.all("entry"):
        if found := _ERROR.match(piece.text):
            yield from _message(cut, piece, found, block.name.text.removeprefix("Errors raised in "))
        elif found := _NUMBERED.match(piece.text):
            yield from _numbered(cut, piece, found)
        elif found := _RAISED_FOR.match(piece.text):
            yield cut.fact("raised-for", piece.group(found, 1), name=found[2])
        elif found := _CONSTANT.match(piece.text):
            yield from _constant(cut, piece, found, block.name.text.removeprefix("Constants of "))
        else:
            yield from _entry(cut, piece, title)
    if (text := block.first("text")) and block.level > 1:
        sentence = first_sentence(text)
        if plain(sentence.text, LONGEST_ANSWER) and len(sentence.text.split()) >= 5:
            yield cut.fact("prose", sentence, title=title, heading=block.name.text)


def _message(cut: Cutter, piece: Piece, found: re.Match[str], module: str) -> Iterator[Fact]:
    message = piece.group(found, 3)
    if "{" in message.text or "_" == found[2][0] or not plain(message.text, LONGEST_ANSWER - 8):
        return
    function = f"{module}.{found[2]}"
    yield cut.fact("message", piece.group(found, 2), says=message.text.rstrip("."), error=found[1], module=module)
    yield cut.fact("message-of", message, name=function, error=found[1])


def _numbered(cut: Cutter, piece: Piece, found: re.Match[str]) -> Iterator[Fact]:
    name, number, text = found[1], found[2], first_sentence(piece.group(found, 3))
    if not plain(text.text, LONGEST_ANSWER, fewest=1):
        return
    sort, met = SORTS.get(cut.sort, "constant"), MET.get(cut.sort, "you meet {name}").format(name=name)
    yield cut.fact("meaning", text, name=name, met=met)
    if len(text.text.split()) <= LONGEST_QUOTE:
        yield cut.fact("symbol", piece.group(found, 1), sort=sort, says=text.text.rstrip("."))
    yield cut.fact("number", piece.group(found, 1), sort=sort, number=number)


def _constant(cut: Cutter, piece: Piece, found: re.Match[str], module: str) -> Iterator[Fact]:
    if found[3]:
        says = first_sentence(piece.group(found, 3))
        if plain(says.text, LONGEST_ANSWER, fewest=2):
            yield cut.fact("constant", says, name=f"{module}.{found[1]}")
            if len(says.text.split()) <= LONGEST_QUOTE:
                yield cut.fact("constant-named", piece.group(found, 1), module=module, says=says.text.rstrip("."))
    if len(found[2].lstrip("-0")) >= DISTINCT_DIGITS and len(found[2]) <= 20:
        yield cut.fact("value", piece.group(found, 2), name=f"{module}.{found[1]}")


def _entry(cut: Cutter, piece: Piece, title: str) -> Iterator[Fact]:
    if (found := _ENTRY.match(piece.text)) and len(found[1]) <= 40:
        says = first_sentence(piece.group(found, 2))
        if plain(says.text, LONGEST_ANSWER):
            yield cut.fact("entry", says, name=found[1], title=title)
            if asks(says.text, found[1], LONGEST_QUOTE):
                yield cut.fact("entry-named", piece.group(found, 1), title=title, says=says.text.rstrip("."))
