"""What MCP clients told the memory: statements, each an immutable file, deletions among them; and the graph they make.

runs/memory/statements/ID.json      statement.v1; the ID is the hash of its content, so a torn one is known for torn

A statement lives until another one says `deleted` of its ID; the same thing told again after that is a new statement,
for its number, `n`, is higher. What lives depends alone on which files there are: two memories merge by copying files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bus import files, schema

SHELF = "statements"
MAX_STATEMENT = 256 * 1024  # bytes; longer is a document, and belongs in a file that an observation names
KEYS = {  # what tells one statement of a kind from another
    "entity": ("name",),
    "observation": ("entity", "text"),
    "relation": ("from", "to", "how"),
    "deleted": ("ids",),
}

Statement = dict[str, Any]
Line = dict[str, Any]


def statement(kind: str, n: int, **says: Any) -> Statement:
    """A statement.v1 document whose id is derived from everything else in it."""
    content = {"kind": kind, "n": n, **says}
    return {"schema": "statement.v1", "id": identity(content), **content}


def identity(document: Mapping[str, Any]) -> str:
    """The id that a statement must have: `s-` and 20 hex digits of its content's sha256."""
    content = {key: value for key, value in document.items() if key not in ("schema", "id")}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"s-{files.sha256(text.encode('utf-8', 'surrogatepass'))[:20]}"


def checked(document: Any) -> Statement:
    """The document, if it is a statement with its own id; raises bus.schema.Invalid."""
    found: Statement = schema.check(document, "statement.v1")
    if found["id"] != (own := identity(found)):
        raise schema.Invalid(f"statement.v1: id: {found['id']} is not the id of this content, {own}")
    return found


def key(document: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a statement is about: two with the same key say the same, or give one entity two types."""
    return (document["kind"], *(document[one] for one in KEYS[document["kind"]] if one != "ids"))


class Shelf:
    """The statements of a folder, each file read once: it never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Statement] = {}
        self._by_key: dict[tuple[Any, ...], list[str]] = {}
        self.dead: set[str] = set()
        self.last = 0  # the highest number
        self.problems: list[str] = []

    def look(self) -> None:
        """Read what is new; what is no statement is named in `problems`, a missing folder holds none."""
        there = {path.stem: path for path in sorted(self.folder.glob("[!.]*.json"))}
        if self._known.keys() - there.keys():  # a person removed some
            self._known, self._by_key, self.dead, self.last = {}, {}, set(), 0
        self.problems = []
        for name in sorted(there.keys() - self._known.keys()):
            try:
                document = checked(files.read_json(there[name], MAX_STATEMENT))
                if name != document["id"]:
                    raise schema.Invalid(f"its name is not its id, {document['id']}")
            except (files.BadFile, schema.Invalid) as error:
                self.problems.append(f"{name}.json: not a statement: {str(error)[:200]}; remove it")
            else:
                self.take(document)

    def take(self, document: Statement) -> None:
        """Know a statement."""
        self._known[document["id"]] = document
        self._by_key.setdefault(key(document), []).append(document["id"])
        self.last = max(self.last, document["n"])
        if document["kind"] == "deleted":
            self.dead |= set(document["ids"])

    def living(self, kind: str) -> list[Statement]:
        """What was told of a kind and not deleted since, in the order of the telling."""
        found = [one for id, one in self._known.items() if one["kind"] == kind and id not in self.dead]
        return sorted(found, key=lambda one: (one["n"], one["id"]))

    def says(self, kind: str, **says: Any) -> list[str]:
        """The IDs of the living statements that say this."""
        return [id for id in self._by_key.get(key({"kind": kind, **says}), []) if id not in self.dead]


def merged(told: Iterable[Line], shelf: Shelf) -> list[Line]:
    """Lines of memory.jsonl, entities first: what runs told, and what clients told of the same and of other entities.

    An entity that both name is the runs' own, with the clients' observations after theirs.
    """
    lines = list(told)
    nodes = {one["name"]: dict(one) for one in lines if one["type"] == "entity"}
    edges = {(one["from"], one["to"], one["relationType"]) for one in lines if one["type"] == "relation"}
    for one in shelf.living("entity"):
        new = {"type": "entity", "name": one["name"], "entityType": one["type"], "observations": []}
        nodes.setdefault(one["name"], new)
    added: dict[str, list[str]] = {}
    for one in shelf.living("observation"):
        added.setdefault(one["entity"], []).append(one["text"])
    for name in added.keys() & nodes.keys():
        nodes[name]["observations"] = list(dict.fromkeys([*nodes[name]["observations"], *added[name]]))
    edges |= {(one["from"], one["to"], one["how"]) for one in shelf.living("relation")}
    return [
        *nodes.values(),
        *({"type": "relation", "from": a, "to": b, "relationType": how} for a, b, how in sorted(edges)),
    ]


def found(lines: Sequence[Line], names: Iterable[str]) -> dict[str, list[Line]]:
    """The entities of these names and the relations that touch one of them, as the memory server tells them."""
    wanted = set(names)
    return {
        "entities": [bare(one) for one in lines if one["type"] == "entity" and one["name"] in wanted],
        "relations": [bare(one) for one in lines if one["type"] == "relation" and {one["from"], one["to"]} & wanted],
    }


def bare(line: Line) -> Line:
    return {name: value for name, value in line.items() if name != "type"}


def matching(lines: Iterable[Line], query: str) -> list[str]:
    """The names of the entities whose name, type or observations hold the query, in whatever case."""
    asked = query.casefold()
    return [
        one["name"]
        for one in lines
        if one["type"] == "entity"
        and any(asked in text.casefold() for text in (one["name"], one["entityType"], *one["observations"]))
    ]
