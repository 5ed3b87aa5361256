"""Facts of one documented object: what it does, how it is called, what it returns, and how it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agents.teacher.blocks import Block, Piece
from agents.teacher.entry_facts import entry
from agents.teacher.fact import LONGEST_ANSWER, LONGEST_QUOTE, Cutter, Fact
from agents.teacher.phrases import asks, first_sentence, plain, tells, verb_phrase

LONGEST_CODE = 110  # characters of a signature or an example line
LONGEST_DEFAULT = 40  # characters; a longer default is an expression
COMMON = frozenset({"None", "True", "False", "...", "''", '""', "()", "[]", "{}", "0", "1"})  # identify nothing

_PARAMETER = re.compile(r"`(\*{0,2}\w+)`(?: \((.*?)(?:;? ?default `([^`]*)`)?\))?: (.+)$")
_FIRST = re.compile(r"`((?:[A-Za-z]\w*\.)*[A-Za-z]\w*)`")  # a public class
_RETURN = re.compile(r"\) -> (?=.{3,40}$)((?:[A-Za-z]\w*\.)*[A-Za-z]\w*(?:\[[^`]*\])?)$")
_TYPE = re.compile(r"(?:`[^`]+`|[A-Za-z_][\w.]*(?:\[[\w., ]+\])?): +(?=\S)")
_RAISE = re.compile(r"`([\w.]+)`: (.+)$")


def object_facts(cut: Cutter, block: Block) -> Iterator[Fact]:
    name = block.name.text
    raised = block.kind == "exception"
    if summary := block.first("Summary"):
        yield from _summary(cut, block, summary, raised)
    yield from _signature(cut, block)
    if (found := block.first("Bases")) and (base := _FIRST.match(found.text)):
        yield cut.fact("base", found.group(base, 1), name=name)
    yield from _parameters(cut, block)
    if found := block.first("Returns", "Yields"):
        sentence = first_sentence(_without_type(found))
        if plain(sentence.text, LONGEST_ANSWER):
            yield cut.fact("returns", sentence, name=name)
    yield from _failures(cut, block)
    yield from _example(cut, block)
    for piece in block.all("entry", "member"):
        yield from entry(cut, piece, name)


def _signature(cut: Cutter, block: Block) -> Iterator[Fact]:
    name = block.name.text
    if not (found := block.first("Signature")) or "(" not in found.text:
        return
    signature = found.inside()
    if len(name) + len("() -> None") < len(signature.text) <= LONGEST_CODE and "..." not in signature.text:
        yield cut.fact("signature", signature, name=name)
    if (typed := _RETURN.search(signature.text)) and typed[1] not in COMMON and plain_code(f"{typed[1]}      "):
        yield cut.fact("return-type", signature.group(typed, 1), name=name)


def _without_type(piece: Piece) -> Piece:
    """A description of what is returned, without the type that some docstrings begin it with."""
    found = _TYPE.match(piece.text)
    return piece.part(found.end(), len(piece.text)) if found else piece


def _summary(cut: Cutter, block: Block, summary: Piece, raised: bool) -> Iterator[Fact]:
    sentence = first_sentence(summary)
    name = block.name.text
    if not plain(sentence.text, LONGEST_ANSWER) or name.rpartition(".")[2].startswith("_"):
        return
    if re.match(r"Deprecated|Use .* instead", sentence.text):
        yield cut.fact("deprecated", sentence, name=name)
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
        if plain(meaning.text, LONGEST_ANSWER) and tells(meaning.text, found[1]):
            yield cut.fact("parameter", meaning, param=found[1], name=name)
            if asks(meaning.text, found[1], LONGEST_QUOTE - 4):
                yield cut.fact("parameter-named", piece.group(found, 1), name=name, says=meaning.text.rstrip("."))
        if found[3] and found[3] not in COMMON and len(found[3]) <= LONGEST_DEFAULT:
            yield cut.fact("default", piece.group(found, 3), param=found[1], name=name)


def _failures(cut: Cutter, block: Block) -> Iterator[Fact]:
    name = block.name.text
    for piece in block.all("raise"):
        if found := _RAISE.match(piece.text):
            when = first_sentence(piece.group(found, 2))
            if plain(when.text, LONGEST_ANSWER):
                yield cut.fact("raises", when, name=name, error=found[1])
    for label in ("Warning", "Note", "Deprecated"):
        if caution := block.first(label):
            sentence = first_sentence(caution)
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
