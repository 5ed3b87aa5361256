"""Say cheaply what a source holds: the names in it and a line about each, without importing, fetching or running it."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from agents._goal import split
from agents.sources import catalogues, syntax, texts
from agents.sources.locate import ROOT, module_spec
from agents.sources.modules import Unreadable
from agents.sources.prose import clean, first_sentence

Row = tuple[str, str]  # (name or heading, what is said of it)
MAX_ROWS = 2_000  # per source: pynvml has 700 functions
WORDS_IN_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def outline(spec: str, allowed: list[Path], root: Path = ROOT) -> list[Row]:
    """Return the names and headings of one source, its own title first; raises Unreadable."""
    kind, target = split(spec, "sources")
    if kind == "pydoc":
        return module_rows(target)[:MAX_ROWS]
    if kind == "catalogue":
        return catalogue_rows(target)[:MAX_ROWS]
    if kind == "url":  # not fetched twice: only its address is known so far
        return [(" ".join(re.split(r"[^A-Za-z0-9]+", target)), "a web page, read when sources are collected")]
    if kind == "man":
        return markdown_rows(texts.page_markdown(target)[1])[:MAX_ROWS]
    read = texts.folder_markdown if kind == "dir" else texts.file_markdown
    return markdown_rows(read(target, allowed, root)[1])[:MAX_ROWS]


def module_rows(name: str) -> list[Row]:
    """Return a module's outline from its source text; of one in C, from its docstrings, if it is Python's own."""
    spec = module_spec(name)
    if spec is None:
        raise Unreadable(f"pydoc:{name}: there is no such module here; install it or leave it out")
    if spec.origin and spec.origin.endswith(".py"):
        rows = syntax.outline(spec.origin)
        return [(key or name, said(line)) for key, line in rows] or [(name, "")]
    if name.partition(".")[0] in sys.stdlib_module_names:  # built in: importing it runs no Python code
        module = importlib.import_module(name)
        public = [
            (key, getattr(value, "__doc__", None)) for key, value in sorted(vars(module).items()) if key[0] != "_"
        ]
        return [(name, said(module.__doc__)), *[(key, said(doc)) for key, doc in public]]
    return [(name, "")]


def catalogue_rows(name: str) -> list[Row]:
    """Return a catalogue's title and entries."""
    if name == "torch-errors":  # its classes are known only by importing torch
        return [(catalogues.TITLES[name], "error classes: out of memory, distributed, network, store, backend, worker")]
    made = {
        "errno": catalogues.errors_markdown,
        "signal": catalogues.signals_markdown,
        "nvml": catalogues.nvml_markdown,
    }
    return markdown_rows(made[name]())


def markdown_rows(text: str) -> list[Row]:
    """Return headings with the line below them, and named bullets with their text."""
    lines = [line for line in text.split("\n") if line.strip()]
    rows = []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        heading = re.match(r"#{1,6} +(.+)", line)
        bullet = re.match(r"[-*] `([^`]+)`[^:]*:? ?(.*)", line)
        if heading:
            rows.append((heading[1].strip(), "" if below.startswith(("#", "- ")) else said(below)))
        elif bullet:
            rows.append((bullet[1], said(bullet[2])))
    return rows


def said(text: str | None) -> str:
    """Return the first sentence of a text, as one line; of a constant's docstring, which is its type's, nothing."""
    if text in (None, int.__doc__, str.__doc__):
        return ""
    return first_sentence(clean(str(text)[:2000]))[0][:300]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, names taken apart, plurals without their s.

    >>> words("DistributedDataParallel and memory_stats")
    ['distributed', 'data', 'parallel', 'and', 'memory', 'stat']
    """
    return [stem(word.lower()) for word in WORDS_IN_NAME.findall(text)]


def stem(word: str) -> str:
    """Return a word without the ending of a plural.

    >>> [stem(word) for word in ("pools", "properties", "processes", "status")]
    ['pool', 'property', 'process', 'status']
    """
    if len(word) <= 4 or word.endswith(("ss", "us", "is", "as")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "ches", "shes", "xes")) else word.removesuffix("s")
