"""Read the lists in a docstring's sections: parameters and exceptions, each with a name, a type and a description.

Understands `name (type): text` of Google, `name : type` of NumPy with the text below, and names alone.
"""

from __future__ import annotations

import re

from agents.sources.prose import clean, folded

NAME = re.compile(r"`{0,2}(\*{0,2}[A-Za-z_][\w.]*(?:\s*(?:,|/|\band\b)\s*\*{0,2}[A-Za-z_][\w.]*)*)`{0,2}\s*")


def entries(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """Split a parameter section into (name, type, lines of the description)."""
    out: list[tuple[str, str, list[str]]] = []
    for line in lines:
        parsed = entry(line) if line and not line.startswith(" ") else None
        if parsed and (parsed[2] or parsed[1] or line.rstrip().endswith(":") or NAME.fullmatch(line)):
            out.append((parsed[0], parsed[1], [parsed[2]]))
        elif out:
            out[-1][2].append(line)
    return [numpy_entry(*one) for one in out]


def numpy_entry(name: str, noted: str, text: list[str]) -> tuple[str, str, list[str]]:
    """Return an entry with NumPy's `name : type` and its description on the next lines told apart."""
    if not text[0].startswith(": "):
        return name, noted, text
    if any(line.strip() for line in text[1:]):
        return name, clean(text[0][2:]), text[1:]
    return name, noted, [text[0][2:]]


def entry(line: str) -> tuple[str, str, str] | None:
    """Return (name, type, description) of `name (type): text`, of NumPy's `name : type` and of a bare name."""
    line = re.sub(r"^[-*]\s+", "", line)
    match = NAME.match(line)
    if not match or " " in match[1].replace(", ", ",").replace(" and ", ","):
        return None
    name, rest, noted = match[1].strip().replace(" and ", ", "), line[match.end() :], ""
    if rest.startswith("("):
        closing = closed(rest)
        noted, rest = rest[1:closing], rest[closing + 1 :].lstrip()
    if rest.startswith(":") and not re.match(r":[\w+-]+:`", rest):  # no role such as :func:`x`
        spaced = ": " if line[: match.end()].endswith(" ") and not noted else ""  # NumPy's, see numpy_entry
        return name, clean(noted), spaced + rest.lstrip(":").strip()
    if rest.startswith(("- ", "-- ")) and not noted:
        return name, "", rest.lstrip("- ")
    return (name, clean(noted), "") if not rest else None


def closed(text: str) -> int:
    """Return the position of the parenthesis that closes the first one; the last character if none does."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return position
    return len(text) - 1


def raised(lines: list[str]) -> list[tuple[str, str]]:
    """Return (exception, when) of a Raises section."""
    rows = [
        (clean(name).strip("`"), folded(text))
        for name, _, text in entries([re.sub(r":\w+:`~?(.+?)`", r"\1", x) for x in lines])
    ]
    return [(name, text) for name, text in rows if text and re.search(r"[A-Z]", name)]
