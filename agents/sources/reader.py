"""Read the sources of a goal as Markdown.

Prose stands on one line per paragraph, without markup but backticks, so that answers can be cut by offsets.
A module (`pydoc:`) is `# name`, its overview, then a block per object under `## module.object`, its methods under
`### module.object.method`. A block holds these pieces in this order, one blank line between them, each only if known:

    Kind: function | class | exception | enum | method | class method | static method | property
    Signature: `module.object(a, b=1) -> int`
    Bases: `RuntimeError`, `Exception`.
    Summary: the first sentence of the docstring.
    Details: a further paragraph.                  any number; a list in the docstring follows as `- ` bullets
    Members:                                       then bullets - `NAME` = `value`
    Parameters:                                    then bullets - `name` (type; default `x`): description
    Returns: … · Yields: …
    Raises:                                        then bullets - `ValueError`: when
    Note: … · Warning: … · See also: … · Changed: Version 3.8: … · Deprecated: …
    Example:                                       then a fenced block of code

A module ends with `## Constants of NAME` (bullets - `X` = `1`: comment) and `## Errors raised in NAME` (bullets
- `ValueError` in `function`: the message, {x} where a value is put in).
A catalogue is `# title`, a line of origin, and bullets - `NAME` (NUMBER): text under `## group`.
A file, folder, manual page or web page is `# title` and its own Markdown.
What a model wrote (agents/asking/scenarios.py) is `# title`, a line of origin, and `## symptom` with its cause below
it, then Message:, Fix: and Check:.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents._goal import split
from agents.sources import catalogues, modules, texts
from agents.sources.locate import ROOT, refused_url
from agents.sources.modules import Unreadable

FETCHER = Path(__file__).with_name("fetch.py")
FETCH_SECONDS = 60  # for one page, everything included; a page that comes slower, byte by byte, is given up
GRACE_SECONDS = 15  # for the child to start and end
MAX_SOURCE = 4_000_000  # characters of one source; torch.distributed has 0.2 million
MAX_ID = 60  # characters of a source's id before its hash; ids become file names
KIND = {"pydoc": "documentation", "man": "documentation", "url": "documentation", "catalogue": "catalogue"}
PACKAGE = {"nvml": "pynvml", "torch-errors": "torch"}  # whose licence and version a catalogue has; else Python's


class Unreachable(Exception):
    """A source that the network did not give this time; asking again may."""


@dataclass(frozen=True)
class Source:
    """One source, read: its origin (the spec), and its text as Markdown."""

    origin: str
    title: str
    kind: str
    licence: str | None
    version: str | None
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def identify(specs: list[str]) -> dict[str, str]:
    """Return each spec's id: its own letters, with a hash where that would be too long or is taken.

    >>> identify(["pydoc:torch.cuda"])
    {'pydoc:torch.cuda': 'pydoc-torch-cuda'}
    """
    short = {spec: re.sub(r"[^a-z0-9]+", "-", spec.lower()).strip("-") for spec in specs}
    taken = list(short.values())
    return {
        spec: one
        if len(one) <= MAX_ID and one and taken.count(one) == 1
        else f"{one[:MAX_ID]}-{digest(spec)[:8]}".lstrip("-")
        for spec, one in short.items()
    }


def digest(text: str) -> str:
    """Return the sha256 of a text, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class Reader:
    """Reads specs one by one; all modules among them are read together, at the first one that needs it."""

    def __init__(self, specs: list[str], allowed: list[Path], root: Path = ROOT):
        self.allowed, self.root = allowed, root
        self.parts = {spec: split(spec, "sources") for spec in specs}

    @functools.cached_property
    def modules(self) -> dict[str, dict[str, Any]]:
        """What the reading process answered, by module name; "" is torch's error classes."""
        names = [target for kind, target in self.parts.values() if kind == "pydoc"]
        errors = ("catalogue", "torch-errors") in self.parts.values()
        return modules.ask(names, catalogues.TORCH_MODULES if errors else [])

    def read(self, spec: str) -> Source:
        """Return one source; raises Unreadable, or Unreachable when the network failed."""
        kind, target = self.parts[spec]
        title, text = self.markdown(kind, target)
        text = texts.plain(text)
        if len(text) > MAX_SOURCE:
            raise Unreadable(f"{spec}: is longer than {MAX_SOURCE} characters; name a part of it")
        licence, version = origin_of(kind, target)
        return Source(spec, one_line(title), KIND.get(kind, "file"), licence, version, text)

    def markdown(self, kind: str, target: str) -> tuple[str, str]:
        """Return (title, Markdown) of one source."""
        if kind == "pydoc":
            return target, modules.module_markdown(target, self.modules[target])
        if kind == "catalogue":
            return catalogues.TITLES[target], self.catalogue(target)
        if kind == "man":
            return texts.page_markdown(target)
        if kind == "url":
            return fetched(target)
        read = texts.folder_markdown if kind == "dir" else texts.file_markdown
        return read(target, self.allowed, self.root)

    def catalogue(self, name: str) -> str:
        """Return one catalogue."""
        if name == "torch-errors":
            return catalogues.torch_markdown(self.modules[""])
        made = {
            "errno": catalogues.errors_markdown,
            "signal": catalogues.signals_markdown,
            "nvml": catalogues.nvml_markdown,
        }
        return made[name]()


def fetched(url: str, private: Sequence[str] = (), seconds: int = FETCH_SECONDS) -> tuple[str, str]:
    """Return (title, Markdown) of a web page, fetched and parsed in a child process with an empty environment.

    `private` addresses are taken for public ones; only tests have any. Raises Unreadable or Unreachable.
    """
    trouble = "" if private else refused_url(url)
    if trouble:
        raise Unreadable(f"url:{url}: {trouble}")
    asked = json.dumps({"url": url, "private": list(private), "seconds": seconds}).encode()
    late = f"url:{url}: gave no whole answer in {seconds} s; try again, or leave it out"
    command = [sys.executable, "-I", str(FETCHER)]
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                command, input=asked, capture_output=True, env={}, cwd=empty, timeout=seconds + GRACE_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(late) from None
    if done.returncode == -signal.SIGALRM:
        raise Unreachable(late)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        what = one_line(last) or f"its process ended with {done.returncode}"
        raise Unreadable(f"url:{url}: cannot be read ({what}); save it as a file: source, or leave it out")
    page = json.loads(done.stdout)
    if "error" in page:
        wrong = Unreachable if page["again"] else Unreadable
        raise wrong(f"url:{url}: {page['error']}; {'try again' if page['again'] else 'correct it'}, or leave it out")
    return texts.titled(one_line(page["title"]) or url, texts.plain(page["text"]))


def origin_of(kind: str, target: str) -> tuple[str | None, str | None]:
    """Return (licence, version) of what a source documents, None where nothing says."""
    name = target.partition(".")[0] if kind == "pydoc" else PACKAGE.get(target, "sys") if kind == "catalogue" else ""
    if not name:
        return None, None
    if name in sys.stdlib_module_names:
        return "PSF-2.0", platform.python_version()
    import importlib.metadata

    packages = distributions().get(name)
    if not packages:
        return None, None
    about = importlib.metadata.metadata(packages[0]).json
    listed = [row.rpartition(" :: ")[2] for row in about.get("classifier", []) if row.startswith("License ::")]
    stated = about.get("license_expression") or (listed[0] if listed else about.get("license"))
    return (one_line(str(stated)) if stated else None), str(about["version"])


@functools.cache
def distributions() -> dict[str, list[str]]:
    """Return which installed packages hold each top-level module."""
    import importlib.metadata

    return {name: sorted(found) for name, found in importlib.metadata.packages_distributions().items()}


def one_line(text: str) -> str:
    """Return a text that came from outside as one printable line of at most 200 characters."""
    return re.sub(r"\s+", " ", texts.plain(text)).strip()[:200]


def source_row(identity: str, source: Source, topics: list[str]) -> dict[str, Any]:
    """Return a source's row of sources.jsonl (source.v1)."""
    content = source.text.encode("utf-8")
    return {
        "schema": "source.v1",
        "id": identity,
        "file": f"sources/{identity}.md",
        "origin": source.origin,
        "title": source.title,
        "licence": source.licence,
        "kind": source.kind,
        "version": source.version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "topics": topics,
    }
