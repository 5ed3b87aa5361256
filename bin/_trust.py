"""What of a packed run could run code: scripts, and checkpoints that are loaded by unpickling.

Told by a file's name and by its first bytes, so that neither another name nor another content hides it. Commands are
never among them: a run only names a step, and what runs for it stands in this machine's own config.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from bus.flow import Step

HEAD = 16  # bytes of a file that are looked at
SCRIPTS = frozenset(
    ".bash .bat .cjs .class .cmd .com .csh .dll .dylib .egg .exe .fish .jar .js .ksh .lua .mjs .php .pl .ps1 .py .pyc "
    ".pyd .pyo .pyw .pyz .rb .sh .so .whl .zsh".split()
)
PICKLED = frozenset(".bin .ckpt .dill .joblib .npz .pickle .pkl .pt .pt2 .pth".split())  # pytorch_model.bin, too
DATA = frozenset(".csv .html .json .jsonl .log .md .safetensors .txt".split())  # nothing starts these by themselves
_ZIP = b"PK\x03\x04"  # torch.save writes one, and Python imports from one
_PROGRAM = (b"#!", b"\x7fELF", b"MZ")
_UNIT = 5  # parts of STEP/work/ID/kept/PART: what was kept is one thing, and goes or stays as one
SHOWN = 200  # characters of a command that are told


class Suspect(NamedTuple):
    """Something that could run code: the file or the whole folder, what is wrong with it, and how much it is."""

    name: str
    what: str
    files: int
    bytes: int
    more: tuple[str, ...] = ()  # the same of each further file of a folder

    def __str__(self) -> str:
        many = f"{self.files:,} files, " if self.files > 1 else ""
        return f"{self.name} ({many}{self.bytes:,} bytes): {self.what}"


def danger(name: str, executable: bool, head: bytes) -> str:
    """Why a file could run code, by its name, its mode and its first bytes; "" for data."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLED or _is_pickled(suffix, head):
        return "a pickled checkpoint, which runs code when it is loaded"
    if suffix in SCRIPTS:
        return "a script"
    if suffix not in DATA and (executable or head.startswith(_PROGRAM)):
        return "a program"
    return ""


def _is_pickled(suffix: str, head: bytes) -> bool:
    if (
        suffix == ".safetensors" and head[8:9] == b"{"
    ):  # its header's length, which may look like a pickle's first bytes
        return False
    return head.startswith(_ZIP) or (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def in_work(name: str) -> bool:
    """True for the work in progress of a mailbox: what goes from there is made again."""
    parts = name.split("/")
    return len(parts) > 2 and parts[1] == "work"


def unit(name: str) -> str:
    """What goes as a whole with a file: its part of kept/ or of a try, or the file alone."""
    return "/".join(name.split("/")[:_UNIT]) if in_work(name) else name


def suspects(found: Mapping[str, str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Suspect]:
    """The dangerous files, as the units that go or stay; `found`: file -> why, `known`: the manifest's files."""
    whys: dict[str, list[str]] = {}
    for name in sorted(found):
        one, inner = unit(name), name.removeprefix(unit(name)).strip("/")
        whys.setdefault(one, []).append(f"{inner} is {found[name]}" if inner else f"is {found[name]}")
    sizes: dict[str, list[int]] = {one: [] for one in whys}
    for name, about in known.items():
        if (one := unit(name)) in sizes:
            sizes[one].append(about["bytes"])
    return {
        one: Suspect(one, told[0] + more(told), len(sizes[one]), sum(sizes[one]), tuple(told[1:]))
        for one, told in whys.items()
    }


def lines(suspect: Suspect) -> Iterator[str]:
    """All that would run of it: what goes or stays as a whole, then each further file that could run."""
    yield str(suspect)
    yield from (f"{suspect.name}/{one}" for one in suspect.more)


def more(things: list[str]) -> str:
    return f" (and {len(things) - 1:,} more)" if len(things) > 1 else ""


def commands(steps: Iterable[Step], flow: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line for each command that a run names: what this machine's `flow` has under that name, which alone runs."""
    for step in steps:
        if step.agent:
            continue
        named, ours = _shown(step.command), flow.get(step.name, {}).get("command")
        if not ours:
            yield f"{step.name}: this machine's config has no such command, so that nothing runs; the run names {named}"
        elif list(ours) == list(step.command):
            yield f"{step.name}: runs from this machine's config, which has the same: {named}"
        else:
            yield f"{step.name}: runs from this machine's config: {_shown(ours)}; the run names another: {named}"


def _shown(argv: Any) -> str:
    text = shlex.join(map(str, argv)) or "none"
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
