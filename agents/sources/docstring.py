"""Cut a docstring into pieces that each say one thing: summary, details, parameters, returns, raises, notes.

Understands the sections of Google, NumPy, Sphinx and Argument Clinic, and plain text; knows no module and runs nothing.
Every prose piece is one line without markup but backticks, so that an answer can be cut from it by offsets.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

from agents.sources.entries import entries, raised
from agents.sources.prose import DIRECTIVE, clean, code_of, first_sentence, folded, looks_like_code

TITLES = {  # the section titles in use, and the piece each one becomes
    "parameters": "args|arguments|parameters|params|keyword args|keyword arguments|other parameters|attributes|inputs",
    "returns": "returns?",
    "yields": "yields?",
    "raises": "raises?|exceptions|throws",
    "note": "notes?|important|tip",
    "warning": "warnings?|warns|caution",
    "see": "see also",
    "example": "examples?|usage",
}
SECTION = re.compile("|".join(f"(?P<{kind}>{titles})" for kind, titles in TITLES.items()), re.IGNORECASE)
HEADER = re.compile(r"(?P<title>[A-Za-z][A-Za-z ]{3,18})\s*::?(?:\s+(?P<rest>\S.*))?")
FIELD = re.compile(r":(param|parameter|arg|argument|type|keyword|returns?|rtype|raises?|yields?)\b\s*([^:]*):\s*(.*)")
NOTICES = {
    "note": "note", "important": "note", "tip": "note", "hint": "note", "warning": "warning", "caution": "warning",
    "danger": "warning", "attention": "warning", "seealso": "see", "deprecated": "deprecated",
    "versionadded": "changed", "versionchanged": "changed",
}  # fmt: skip
BULLET = re.compile(r"(?:[-*+•]|\d+[.)])\s+(.*)")
CLINIC = re.compile(r"(?: {2})?([a-z_]\w*)")  # Argument Clinic: a name on its own line, its description two deeper
TABLE = re.compile(r"[=+|-]{4,}|\S {3,}\S.* {3,}\S|^\s*\|")
NO_PROSE = re.compile(r"\.\. |[{}]|For a complete description of ")  # link targets, literal data, pointers elsewhere


@dataclass
class Documented:
    """The pieces of one docstring; all prose on one line each."""

    summary: str = ""
    body: list[tuple[str, str]] = field(default_factory=list)  # ("details" | "item" | "code", text), in order
    parameters: list[tuple[str, str, str]] = field(default_factory=list)  # (name, type or "", description)
    returns: str = ""
    yields: str = ""
    raises: list[tuple[str, str]] = field(default_factory=list)
    notices: list[tuple[str, str]] = field(default_factory=list)  # ("note" | "warning" | "see" | "changed" | …, text)
    examples: list[str] = field(default_factory=list)


def parse(doc: str) -> Documented:
    """Return the pieces of a docstring.

    >>> parse("Free it. Now.\\n\\nArgs:\\n    x (int): the size").parameters
    [('x', 'int', 'the size')]
    """
    found = Documented()
    lines = inspect.cleandoc(doc.expandtabs()).splitlines()
    for kind, title, block in sections(lines):
        take(found, kind, title, block)
    for position, (kind, piece) in enumerate(found.body):
        if kind == "details":
            found.summary, rest = first_sentence(piece)
            found.body[position : position + 1] = [("details", rest)] if rest else []
            break
        if kind != "code":
            break
    return found


def sections(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """Split lines into (kind, title, content); kind "body" is what stands outside every section."""
    out: list[tuple[str, str, list[str]]] = [("body", "", [])]
    numpy = fenced = False
    index = 0
    while index < len(lines):
        line, below = lines[index], lines[index + 1] if index + 1 < len(lines) else ""
        known = SECTION.fullmatch(line.strip().rstrip(":").strip())
        header = HEADER.fullmatch(line) if not line.startswith(" ") else None
        headed = SECTION.fullmatch(header["title"].strip()) if header else None
        fenced ^= line.strip().startswith("```")
        if fenced or line.strip() == "```":
            out[-1][2].append(line)
        elif re.fullmatch(r"-{3,}\s*", below) and line and not line.startswith(" "):
            numpy = True
            out.append((str(known.lastgroup) if known else "body", line.strip(), []))
            index += 1
        elif headed and header:
            numpy = False
            rest = [header["rest"]] if header["rest"] else []
            out.append((str(headed.lastgroup), header["title"].strip(), rest))
        elif line and not line.startswith(" ") and not numpy and out[-1][0] != "body" and continues(out[-1], line):
            out.append(("body", "", [line]))
        else:
            out[-1][2].append(line)
        index += 1
    return out


def continues(section: tuple[str, str, list[str]], line: str) -> bool:
    """Say whether an unindented line ends a Google section: yes, unless it is still empty or all unindented."""
    content = [row for row in section[2] if row.strip()]
    indented = [row for row in content if row.startswith(" ")]
    if not content or BULLET.fullmatch(line) or line.startswith(("```", ">>>")):
        return False
    return bool(indented) or section[2][-1:] == [""]


def take(found: Documented, kind: str, title: str, block: list[str]) -> None:
    """Add one section's content to the pieces."""
    lines = inspect.cleandoc("\n".join(block)).splitlines() if kind != "body" else block
    if kind == "body":
        take_body(found, lines)
    elif kind == "parameters":
        known = {name for name, _, _ in found.parameters}  # a class may list its attributes too, under the same names
        new = [(name, noted, folded(text)) for name, noted, text in entries(lines)]
        found.parameters += [row for row in new if row[0] not in known]
    elif kind == "raises":
        found.raises += raised(lines)
    elif kind in ("returns", "yields"):
        setattr(found, kind, (getattr(found, kind) + " " + folded(lines)).strip())
    elif kind == "example":
        if code := code_of(lines):
            found.examples.append(code)
    elif text := folded(lines):
        found.notices.append((kind, text))


def take_body(found: Documented, lines: list[str]) -> None:
    """Add free text: paragraphs, bullets, code, directives, Sphinx fields and Argument Clinic parameters."""
    index, literal = 0, False  # literal: the last paragraph ended with "::", so what is indented is no prose
    while index < len(lines):
        line = lines[index]
        end = block_end(lines, index)
        block = lines[index:end]
        shown = literal and line.startswith(" ")
        literal = (
            shown or (literal and not line.strip()) or (block[-1].endswith("::") and not DIRECTIVE.match(line.strip()))
        )
        if not line.strip():
            end = index + 1
        elif shown:
            found.examples.append(code_of(block))
        elif sphinx := FIELD.match(line.strip()):
            take_field(found, sphinx, block[1:])
        elif directive := DIRECTIVE.match(line.strip()):
            end = indented_end(lines, index)
            take_directive(found, directive, lines[index + 1 : end])
        elif line.strip().startswith((">>>", "```")) or (line.startswith("    ") and looks_like_code(block)):
            end = fence_end(lines, index) if line.strip().startswith("```") else end
            found.examples.append(code_of(lines[index:end]))
        elif CLINIC.fullmatch(line) and block[1:] and block[1].startswith("  "):
            found.parameters.append((line.strip(), "", folded(block[1:])))
        elif not any(TABLE.search(row) for row in block) and not NO_PROSE.match(line.strip()):
            kind = "item" if BULLET.match(line.strip()) else "details"
            if text := folded(block):
                found.body.append((kind, text))
        index = max(end, index + 1)


def take_field(found: Documented, match: re.Match[str], more: list[str]) -> None:
    """Add one Sphinx field such as `:param name: text`."""
    kind, name, text = match[1], match[2].strip(), folded([match[3], *more])
    if kind in ("param", "parameter", "arg", "argument", "keyword"):
        noted, _, short = name.rpartition(" ")
        found.parameters.append((short, noted, text))
    elif kind.startswith("return"):
        found.returns = text
    elif kind.startswith("yield"):
        found.yields = text
    elif kind.startswith("raise") and text:
        found.raises.append((clean(name), text))


def take_directive(found: Documented, match: re.Match[str], content: list[str]) -> None:
    """Add one reST directive; those that only lay out a page are dropped."""
    name, argument = match[1], match[2].strip()
    if name in ("deprecated", "versionadded", "versionchanged"):
        text = folded(content)
        version = f"Version {argument}" if re.match(r"\d", argument) else argument
        notice = f"{version}: {text}" if text else version
        found.notices.append((NOTICES[name], clean(notice)))
    elif name in NOTICES:
        if text := folded([argument, *content]):
            found.notices.append((NOTICES[name], text))
    elif name in ("code-block", "code", "testcode", "sourcecode", "doctest") and (code := code_of(content)):
        found.examples.append(code)


def block_end(lines: list[str], start: int) -> int:
    """Return the index after the paragraph, bullet, field or literal block that begins at `start`."""
    first = lines[start]
    indent = len(first) - len(first.lstrip())
    literal = first.strip().startswith(">>>") or (indent >= 4 and not BULLET.match(first.strip()))
    end = start + 1
    follows_clinic = lines[end : end + 1] and lines[end].startswith(" " * (indent + 2))
    while end < len(lines):
        row = lines[end]
        if not row.strip():
            follows = lines[end + 1] if end + 1 < len(lines) else ""
            inside = follows.startswith(" " * max(indent, 4)) if literal else False
            if not (inside and follows.strip()):
                break
        elif (
            not literal
            and (BULLET.match(row.strip()) or FIELD.match(row.strip()) or row.strip().startswith((".. ", ">>>", "```")))
        ) or (CLINIC.fullmatch(first) and follows_clinic and not row.startswith(" " * (indent + 2))):
            break
        end += 1
    return end


def indented_end(lines: list[str], start: int) -> int:
    """Return the index after the lines that are indented deeper than the one at `start`."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    return end


def fence_end(lines: list[str], start: int) -> int:
    """Return the index after the closing fence, or after the last line if nothing closes it."""
    for end in range(start + 1, len(lines)):
        if lines[end].strip().startswith("```"):
            return end + 1
    return len(lines)
