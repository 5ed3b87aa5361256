"""Read modules' documentation in one child process and write it as regular Markdown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from agents.sources import docstring, syntax
from agents.sources.prose import clean

CHILD = Path(__file__).with_name("module_child.py")
SECONDS = 150  # a little more than the child gives itself; a cold import of torch from a slow disk takes 60
MAX_RAISED = 300  # error messages of one module; torch.distributed has 180
MAX_OUTPUT = 32_000_000  # bytes of the child's answers; all torch modules together print 4 MB

LABELS = {"note": "Note", "warning": "Warning", "see": "See also", "changed": "Changed", "deprecated": "Deprecated"}
NOTICE_ORDER = list(LABELS)


class Unreadable(Exception):
    """One source cannot be read: one line, `spec: what is wrong; what to do`."""


def ask(modules: list[str], errors: list[str]) -> dict[str, dict[str, Any]]:
    """Return the child's answer by module name; "" for the error classes of `errors`. Raises Unreadable.

    One child imports them all, since most share their imports; it ends at the first that fails.
    """
    asked = json.dumps({"modules": modules, "errors": errors}).encode()
    trouble = ""
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(CHILD)],
                input=asked,
                stdout=out,
                stderr=said,
                env={},
                cwd=empty,
                timeout=SECONDS,
            )
            ended = done.returncode
        except subprocess.TimeoutExpired:
            ended, trouble = 1, f"reading it took more than {SECONDS} s"
        printed, complaint = head(out, MAX_OUTPUT), head(said, MAX_OUTPUT)
    rows = [json.loads(line) for line in printed.splitlines() if line.endswith(b"}")]
    answers = {row["name"]: row for row in rows}
    for name in [*modules, *([""] if errors else [])]:
        if ended and name not in answers:
            last = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
            what = trouble or f"cannot be read ({one_line(last)[:300] or f'its process ended with {ended}'})"
            raise Unreadable(
                f"{f'pydoc:{name}' if name else 'catalogue:torch-errors'}: {what}; install it or leave it out"
            )
    return answers


def head(stream: IO[bytes], size: int) -> bytes:
    """Return the beginning of a file that a child wrote."""
    stream.seek(0)
    return stream.read(size)


def module_markdown(name: str, found: dict[str, Any]) -> str:
    """Return one module's documentation as Markdown (the format is in agents/sources/reader.py)."""
    overview = docstring.parse(found["doc"])
    pieces = [f"# {name}", *overview_pieces(overview)]
    for entry in found["objects"]:
        pieces += object_pieces(entry, 2)
    if found["constants"]:
        remarks = syntax.comments(found["file"]) if found["file"] else {}
        noted = [(key, value, prose(remarks.get(key, ""))) for key, value in found["constants"]]
        rows = [f"- `{key}` = `{value}`" + (f": {remark}" if remark else "") for key, value, remark in noted]
        pieces += [f"## Constants of {name}", "\n".join(rows)]
    raised = [row for file in found["files"] for row in syntax.raised(file)][:MAX_RAISED]
    if raised:
        rows = [f"- `{error}` in `{where}`: {prose(message)}" for where, error, message in raised]
        pieces += [f"## Errors raised in {name}", "\n".join(rows)]
    return "\n\n".join(pieces) + "\n"


def overview_pieces(found: docstring.Documented) -> list[str]:
    """Return a module docstring's prose, without labels."""
    pieces = [found.summary] if found.summary else []
    pieces += body_pieces(found, "")
    return pieces + notice_pieces(found)


def object_pieces(entry: dict[str, Any], level: int) -> list[str]:
    """Return the pieces of one documented object and, below it, of its methods."""
    found = docstring.parse(entry["doc"])
    empty = not entry["doc"] and not entry.get("methods") and not entry.get("members")
    if empty and entry["kind"] == "class":
        return []  # a bare class, such as a ctypes structure, holds no fact in words
    pieces = [f"{'#' * level} {one_line(entry['title'])}", f"Kind: {entry['kind']}"]
    if entry["signature"] and entry["kind"] != "enum":
        pieces.append(f"Signature: `{entry['signature'].replace('`', '')}`")
    if entry.get("bases"):
        pieces.append("Bases: " + ", ".join(f"`{base}`" for base in entry["bases"]) + ".")
    if found.summary:
        pieces.append(f"Summary: {found.summary}")
    pieces += body_pieces(found, "Details: ")
    if entry.get("members"):
        pieces += ["Members:", "\n".join(f"- `{key}`" + (f" = `{v}`" if v else "") for key, v in entry["members"])]
    pieces += field_pieces(found, entry["defaults"]) + notice_pieces(found)
    for code in [code for code in found.examples if code]:
        pieces += ["Example:", f"```python\n{code}\n```"]
    for method in entry.get("methods", ()):
        pieces += object_pieces(method, level + 1)
    return pieces


def body_pieces(found: docstring.Documented, label: str) -> list[str]:
    """Return paragraphs, each with its label, and the bullets between them as one list each."""
    pieces: list[str] = []
    items: list[str] = []
    for kind, text in [*found.body, ("end", "")]:
        if kind == "item":
            items.append("- " + (docstring.BULLET.sub(r"\1", text) if docstring.BULLET.match(text) else text))
            continue
        if items:
            pieces.append("\n".join(items))
            items = []
        if kind == "details":
            pieces.append(label + text if label else text)
    return pieces


def field_pieces(found: docstring.Documented, defaults: dict[str, str]) -> list[str]:
    """Return what a docstring says of parameters, results and exceptions."""
    pieces = []
    rows = [parameter_row(name, noted, text, defaults) for name, noted, text in found.parameters if text or noted]
    if rows:
        pieces += ["Parameters:", "\n".join(rows)]
    if found.returns:
        pieces.append(f"Returns: {found.returns}")
    if found.yields:
        pieces.append(f"Yields: {found.yields}")
    if found.raises:
        pieces += ["Raises:", "\n".join(f"- `{name}`: {text}" for name, text in found.raises)]
    return pieces


def parameter_row(name: str, noted: str, text: str, defaults: dict[str, str]) -> str:
    """Return one parameter as a bullet."""
    default = defaults.get(name.lstrip("*"))
    if default:
        noted = re.sub(r",?\s*(?:and )?defaults?(?: to|=|:)? .*$", "", noted)
    brackets = "; ".join(part for part in (noted, f"default `{default}`" if default else "") if part)
    return f"- `{name}`" + (f" ({brackets})" if brackets else "") + (f": {text}" if text else "")


def notice_pieces(found: docstring.Documented) -> list[str]:
    """Return notes, warnings and what changed, in one fixed order of kinds."""
    ordered = sorted(found.notices, key=lambda notice: NOTICE_ORDER.index(notice[0]))
    return [f"{LABELS[kind]}: {text}" for kind, text in ordered]


def prose(text: str) -> str:
    """Return a comment or an error message as one clean line."""
    return one_line(clean(text))


def one_line(text: str) -> str:
    """Return a text with its whitespace folded."""
    return re.sub(r"\s+", " ", text).strip()
