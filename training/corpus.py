"""Read the text that every Python has: docstrings of its standard library, its help topics, its licence.

One document per module, per help topic and for the licence. Every 20th document, in the order of the hashes of their
names, is set aside as *held out*: the base model never sees it, and the exam's `general` slice is cut from it.
No torch here: agents and tests may import this file.
"""

import ast
import hashlib
import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HELD_OUT_EVERY = 20  # 5% is enough for several hundred passages and costs the base little text
SKIPPED_FOLDERS = {  # not in every Python, not prose, or a second copy of what is read elsewhere
    "__pycache__", "dist-packages", "idle_test", "lib2to3", "pydoc_data", "site-packages", "test", "tests",
    "turtledemo",
}  # fmt: skip
PASSAGE_CHARACTERS = (240, 420)  # about 60 to 120 tokens: long enough for a stable loss, short enough to score quickly
PASSAGES_PER_DOCUMENT = 8  # more would let one long module speak for the whole slice


@dataclass(frozen=True)
class Document:
    """One piece of text with a stable name; `read` fetches the text, which may be slow."""

    name: str
    kind: str  # "module", "topic" or "licence"
    source: str  # a path below the standard library, or a topic's key

    def read(self) -> str:
        """Return the text; an empty string when the file cannot be parsed by this Python."""
        if self.kind == "topic":
            return _topics()[self.source]
        text = (library() / self.source).read_text(encoding="utf-8", errors="replace")
        return text if self.kind == "licence" else _docstrings(self.name, text)


def library() -> Path:
    """Return the folder of the standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def documents() -> list[Document]:
    """List every document, sorted by the hash of its name, so that no part of the order is alphabetical."""
    found = [Document(f"topic {key}", "topic", key) for key in sorted(_topics())]
    found += [Document("licence", "licence", "LICENSE.txt")] if (library() / "LICENSE.txt").is_file() else []
    found += [Document(_module_name(path), "module", path) for path in _module_files()]
    return sorted(found, key=lambda document: (_hash(document.name), document.name))


def split() -> tuple[list[Document], list[Document]]:
    """Return (documents to train on, held-out documents)."""
    everything = documents()
    held_out = everything[::HELD_OUT_EVERY]
    return [each for each in everything if each not in held_out], held_out


def digest() -> str:
    """Return a hash over names and sizes of all documents: cheap, and different for another Python's library."""
    lines = [f"{path} {(library() / path).stat().st_size}" for path in _module_files()]
    lines += [f"{key} {len(text)}" for key, text in sorted(_topics().items())]
    return _hash("\n".join(lines))


def training_texts() -> Iterator[str]:
    """Yield the texts to train on, without any paragraph that a held-out document has too."""
    train, held_out = split()
    sealed = {_fold(part) for document in held_out for part in paragraphs(document.read())}
    seen: set[str] = set()
    for document in train:
        kept = []
        for part in paragraphs(document.read()):
            folded = _fold(part)
            if folded not in sealed and folded not in seen:
                kept.append(part)
                seen.add(folded)
        if kept:
            yield "\n\n".join(kept)


def general(number: int) -> list[dict[str, str]]:
    """Return up to `number` held-out passages as {id, text}, spread over the documents; always the same ones."""
    columns = [_passages(document) for document in split()[1]]
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for depth in range(PASSAGES_PER_DOCUMENT):
        for column in columns:
            if depth < len(column) and len(rows) < number and _fold(column[depth]) not in seen:
                text = column[depth]
                seen.add(_fold(text))
                rows.append({"id": f"g-{_hash(text)[:12]}", "text": text})
    return rows


def paragraphs(text: str) -> list[str]:
    """Cut a text at its empty lines."""
    return [part.strip("\n") for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def _passages(document: Document) -> list[str]:
    """Join neighbouring paragraphs of one document until each passage is long enough; too long ones end at a word."""
    shortest, longest = PASSAGE_CHARACTERS
    found, held = [], ""
    for part in paragraphs(document.read()):
        held = f"{held}\n\n{part}" if held else part
        if len(held) >= shortest:
            found.append(held if len(held) <= longest else held[:longest].rsplit(None, 1)[0])
            held = ""
        if len(found) == PASSAGES_PER_DOCUMENT:
            break
    return found


def _docstrings(name: str, source: str) -> str:
    """Return a module's docstrings, each definition's under its signature, in the order of the file."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a few files of the library are templates for other programs
        return ""
    parts = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                parts.append((getattr(node, "lineno", 0), f"{_signature(name, node)}\n{text}"))
    return "\n\n".join(part for _, part in sorted(parts))


def _signature(module: str, node: ast.AST) -> str:
    """Return the line above a docstring: `module x`, `class x` or `x(arguments)`."""
    if isinstance(node, ast.Module):
        return f"module {module}"
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    return f"{node.name}({ast.unparse(node.args)})"


def _module_files() -> list[str]:
    """List the library's Python files below its folder, sorted, without the skipped folders."""
    root = library()
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name not in SKIPPED_FOLDERS and not name.startswith("config-")]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in names if name.endswith(".py")]
    return sorted(found)


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _topics() -> dict[str, str]:
    """Return the interpreter's help topics, or none where a distribution left them out."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return {}
    return topics


def _fold(text: str) -> str:
    return " ".join(text.split()).lower()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
