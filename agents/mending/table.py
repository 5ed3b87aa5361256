"""The dated table of what changed in the libraries, and which of its entries the installed versions call for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from agents.mending.installed import Installed

Entry = dict[str, Any]
HERE = Path(__file__).resolve().parent


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((HERE / "renames.json").read_text("utf-8"))
    return table


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, to compare: 5.0.0rc1 counts as 5.0.0."""
    return tuple(int(one) for one in re.findall(r"\d+", re.split(r"[^\d.]", version, maxsplit=1)[0])[:3])


def due(entry: Entry, installed: Installed) -> bool:
    """Say whether the installed version of the entry's library no longer takes the old form."""
    version = installed.version(entry["library"])
    if version is None or numbers(version) < numbers(entry["from"]):
        return False
    return "until" not in entry or numbers(version) < numbers(entry["until"])


def keywords(kin: Iterable[str], installed: Installed) -> list[Entry]:
    """Return the entries on keywords of a callable that goes by any of these names, in the table's order."""
    names = list(kin)
    return [
        entry
        for entry in _table()["keywords"]
        if any(fnmatchcase(name, entry["target"]) for name in names) and due(entry, installed)
    ]


def symbol(dotted: str, installed: Installed) -> Entry | None:
    """Return the entry on an import that is gone."""
    return next((one for one in _table()["symbols"] if one["old"] == dotted and due(one, installed)), None)


def attributes(kin: Iterable[str], installed: Installed) -> list[Entry]:
    names = set(kin)
    return [one for one in _table()["attributes"] if one["target"] in names and due(one, installed)]


def supplied(name: str) -> str:
    """Return the source that is written into a script in place of an import that is gone."""
    return (HERE / "supplied" / name).read_text("utf-8")
