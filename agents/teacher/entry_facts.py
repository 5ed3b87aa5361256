"""Facts of lists and prose: catalogue entries, constants, error messages, what a section begins with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agents.teacher.blocks import Block, Piece
from agents.teacher.fact import LONGEST_ANSWER, LONGEST_QUOTE, Cutter, Fact
from agents.teacher.phrases import asks, first_sentence, plain, tells

DISTINCT_DIGITS = 4  # a shorter number is the value of fifty other constants
LONGEST_NAME = 40  # characters of an entry's name; longer ones are sentences in backticks
SORTS = {"errno": "errno name", "signal": "signal", "nvml": "NVML return code"}
MET = {"errno": "a system call failed with {}", "signal": "a process was sent {}", "nvml": "NVML returns {}"}
RAISERS = {"errno": "Python", "nvml": "pynvml"}

_ERROR = re.compile(  # a function, a class or a method, without what is inside it
    r"`(\w+)` in `([a-z]\w*|\w+(?:\.(?!__init__)\w+)?)[\w.]*`: (.+)$"
)
_NUMBERED = re.compile(r"`(\w+)` \((-?\d+)\): (.+)$")
_RAISED_FOR = re.compile(r"`(\w+)`: raised for ((?:`\w+` \(-?\d+\)(?: and )?)+)$")
_EXIT = re.compile(r"`(\w+)`: exit status (\d+) in a shell")
_ASSUMED = re.compile(r"\bself\.|\bis (?:not )?None|not be None")  # written for the module's own authors
_CONSTANT = re.compile(r"`(\w+)` = `([^`]+)`(?:: (.+))?$")
_ENTRY = re.compile(r"`([^`]+)`: (.+)$")


def section_facts(cut: Cutter, block: Block, title: str) -> Iterator[Fact]:
    """Facts of a heading that is no object: a catalogue, the constants or the errors of a module, prose."""
    heading = block.name.text
    for piece in block.all("entry"):
        if found := _ERROR.match(piece.text):
            yield from _message(cut, piece, found, heading.removeprefix("Errors raised in "))
        elif found := _NUMBERED.match(piece.text):
            code = cut.catalogue != "nvml" or found[1].startswith("NVML_ERROR")
            yield from _numbered(cut, piece, found) if code else _comment(cut, piece, found, "pynvml")
        elif found := _RAISED_FOR.match(piece.text):
            raiser = RAISERS.get(cut.catalogue, "Python")
            for name in re.findall(r"`(\w+)`", found[2]):
                yield cut.fact("raised-for", piece.group(found, 1), name=name, raiser=raiser)
        elif found := _EXIT.match(piece.text):
            yield cut.fact("exit-status", piece.group(found, 2), name=found[1])
            yield cut.fact("exit-signal", piece.group(found, 1), number=found[2])
        elif found := _CONSTANT.match(piece.text):
            yield from _constant(cut, piece, found, heading.removeprefix("Constants of "))
        else:
            yield from entry(cut, piece, title)
    if (text := block.first("text")) and block.level > 1:
        sentence = first_sentence(text)
        if plain(sentence.text, LONGEST_ANSWER) and len(sentence.text.split()) >= 5:
            yield cut.fact("prose", sentence, title=title, heading=heading)


def entry(cut: Cutter, piece: Piece, title: str) -> Iterator[Fact]:
    """Facts of a bullet that gives a name and what it means."""
    if (found := _ENTRY.match(piece.text)) and len(found[1]) <= LONGEST_NAME:
        says = first_sentence(piece.group(found, 2))
        if plain(says.text, LONGEST_ANSWER):
            yield cut.fact("entry", says, name=found[1], title=title)
            if asks(says.text, found[1], LONGEST_QUOTE):
                yield cut.fact("entry-named", piece.group(found, 1), title=title, says=says.text.rstrip("."))


def _message(cut: Cutter, piece: Piece, found: re.Match[str], module: str) -> Iterator[Fact]:
    raiser, message = piece.group(found, 2), piece.group(found, 3)
    internal = raiser.text.startswith("_") or "._" in raiser.text or _ASSUMED.search(message.text)
    if internal or not plain(message.text, LONGEST_QUOTE + 4):
        return
    yield cut.fact("message-of", message, name=f"{module}.{raiser.text}", error=found[1])
    if '"' not in message.text and len(message.text.split()) <= LONGEST_QUOTE:
        yield cut.fact("message", raiser, says=message.text.rstrip("."), error=found[1], module=module)


def _numbered(cut: Cutter, piece: Piece, found: re.Match[str]) -> Iterator[Fact]:
    name, text = found[1], first_sentence(piece.group(found, 3))
    if not plain(text.text, LONGEST_ANSWER, fewest=1):
        return
    sort = SORTS.get(cut.catalogue, "constant")
    yield cut.fact("meaning", text, name=name, met=MET.get(cut.catalogue, "a program reports {}").format(name))
    if len(text.text.split()) <= LONGEST_QUOTE:
        yield cut.fact("symbol", piece.group(found, 1), sort=sort, says=text.text.rstrip("."))
    yield cut.fact("number", piece.group(found, 1), sort=sort, number=found[2])


def _constant(cut: Cutter, piece: Piece, found: re.Match[str], module: str) -> Iterator[Fact]:
    if found[3]:
        yield from _comment(cut, piece, found, module)
    if len(found[2].lstrip("-0")) >= DISTINCT_DIGITS and found[2].lstrip("-").isdigit() and found[1].isupper():
        yield cut.fact("value", piece.group(found, 2), name=f"{module}.{found[1]}")


def _comment(cut: Cutter, piece: Piece, found: re.Match[str], module: str) -> Iterator[Fact]:
    says = first_sentence(piece.group(found, 3))
    if plain(says.text, LONGEST_ANSWER, fewest=2) and tells(says.text, found[1]):
        yield cut.fact("constant", says, name=f"{module}.{found[1]}")
        if len(says.text.split()) <= LONGEST_QUOTE and '"' not in says.text:
            yield cut.fact("constant-named", piece.group(found, 1), module=module, says=says.text.rstrip("."))
