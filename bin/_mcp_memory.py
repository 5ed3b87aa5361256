"""The shared memory for MCP clients, under the memory server's nine tool names. What runs told stays as they told it.

Each write is decided, published and compiled under the memory's lock, so that of many clients at once each sees what
those before it told. What was published is there though the compiling may have failed: the next one finds it.
"""

from __future__ import annotations

import _start

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _mcp_shapes import Added, Addition, Deletion, Done, Entities, Entity, Graph, Relation, Relations, Results
from _tell import Trouble
from agents import _recall, _statements, memory
from agents._statements import Line, Shelf, Statement
from bus import files

MAX_STATEMENTS = files.BATCH  # of one call: they are published together
MAX_TEXT = 16 * 1024  # characters of one text: longer is a document
MAX_ANSWER = 1024 * 1024  # bytes of a graph that is told: more fits into no client's context


class Memory:
    """The memory in one folder; its methods without a leading _ are the tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shelf = Shelf(folder / _statements.SHELF)
        self._told: list[Line] = []  # what runs told, as lines of memory.jsonl
        self._seen: Any = None  # the listing that _told was made from
        self._turn = threading.Lock()  # the kernel's lock is between processes; calls of one client share this one

    # -- writing --------------------------------------------------------------------------------------------

    def create_entities(self, entities: list[Entity]) -> Entities:
        """Create entities, each with its observations. One whose name is known already is left as it is."""

        def make(lines: Sequence[Line]) -> tuple[list[Statement], list[Entity]]:
            known = {one["name"] for one in lines if one["type"] == "entity"}
            new = {one["name"]: one for one in reversed(entities) if one["name"] not in known}
            made = [one for one in entities if new.get(one["name"]) is one]
            # The entity after its observations: whoever is killed between them has told nothing yet.
            told = [
                says
                for one in made
                for says in (
                    *self._observations(one["name"], one["observations"]),
                    {"kind": "entity", "name": one["name"], "type": one["entityType"]},
                )
            ]
            return told, made

        return {"entities": self._change(make)}

    def create_relations(self, relations: list[Relation]) -> Relations:
        """Create relations between entities, in the active voice. One that is known already is not made twice."""

        def make(lines: Sequence[Line]) -> tuple[list[Statement], list[Relation]]:
            known = {_edge(one) for one in lines if one["type"] == "relation"}
            new = {_edge(one): one for one in relations if _edge(one) not in known}
            return [_relation(one) for one in new.values()], list(new.values())

        return {"relations": self._change(make)}

    def add_observations(self, observations: list[Addition]) -> Results:
        """Add observations to entities that are there; returns those that are new."""

        def make(lines: Sequence[Line]) -> tuple[list[Statement], list[Added]]:
            known = {one["name"]: set(one["observations"]) for one in lines if one["type"] == "entity"}
            told, results = [], []
            for one in observations:
                if (name := one["entityName"]) not in known:
                    raise Trouble("mcp", f"Entity with name {name} not found; make it with create_entities")
                new = [text for text in dict.fromkeys(one["contents"]) if text not in known[name]]
                known[name] |= set(new)
                told += self._observations(name, new)
                results.append(Added(entityName=name, addedObservations=new))
            return told, results

        return {"results": self._change(make)}

    def delete_entities(self, entityNames: list[str]) -> Done:
        """Delete entities with their observations and relations. What runs told stays, and is refused."""

        def make(lines: Sequence[Line]) -> tuple[list[Statement], None]:
            names = set(entityNames)
            self._not_of_runs(names & {one["name"] for one in self._told if one["type"] == "entity"})
            ids = [one["id"] for one in self._shelf.living("entity") if one["name"] in names]
            ids += [one["id"] for one in self._shelf.living("observation") if one["entity"] in names]
            ids += [one["id"] for one in self._shelf.living("relation") if {one["from"], one["to"]} & names]
            return _deleted(ids), None

        self._change(make)
        return Done(success=True, message="Entities deleted successfully")

    def delete_observations(self, deletions: list[Deletion]) -> Done:
        """Delete observations of entities. What runs told stays, and is refused."""

        def make(lines: Sequence[Line]) -> tuple[list[Statement], None]:
            asked = {(one["entityName"], text) for one in deletions for text in one["observations"]}
            own = {(one["name"], text) for one in self._told for text in one.get("observations", ())}
            self._not_of_runs({name for name, _ in asked & own})
            says = [self._shelf.says("observation", entity=name, text=text) for name, text in sorted(asked)]
            return _deleted([id for ids in says for id in ids]), None

        self._change(make)
        return Done(success=True, message="Observations deleted successfully")

    def delete_relations(self, relations: list[Relation]) -> Done:
        """Delete relations. What runs told stays, and is refused."""

        def make(lines: Sequence[Line]) -> tuple[list[Statement], None]:
            own = {_edge(one) for one in self._told if one["type"] == "relation"}
            self._not_of_runs({one["from"] for one in relations if _edge(one) in own})
            says = [self._shelf.says(**_relation(one)) for one in relations]
            return _deleted([id for ids in says for id in ids]), None

        self._change(make)
        return Done(success=True, message="Relations deleted successfully")

    # -- reading --------------------------------------------------------------------------------------------

    def read_graph(self) -> Graph:
        """The whole memory: what runs learned and what clients told, as entities and relations."""
        lines = self._look()
        return self._bounded({kind: [_statements.bare(one) for one in lines if one["type"] == type]
                              for kind, type in (("entities", "entity"), ("relations", "relation"))})  # fmt: skip

    def search_nodes(self, query: str) -> Graph:
        """The entities whose name, type or observations hold the query, and the relations that touch them."""
        lines = self._look()
        return self._bounded(_statements.found(lines, _statements.matching(lines, query)))

    def open_nodes(self, names: list[str]) -> Graph:
        """The entities of these names, and the relations that touch them."""
        return self._bounded(_statements.found(self._look(), names))

    # -- how it is done -------------------------------------------------------------------------------------

    def _look(self) -> list[Line]:
        with self._turn:
            return self._lines()

    def _lines(self) -> list[Line]:
        """The graph of now; observations are read again only where their listing is another."""
        shelf = self.folder / "observations"
        listing = sorted((one.name, one.stat().st_size) for one in os.scandir(shelf)) if shelf.is_dir() else []
        if listing != self._seen:
            self._told, self._seen = _recall.graph(_recall.load(shelf)[0]), listing
        self._shelf.look()
        return _statements.merged(self._told, self._shelf)

    def _change(self, make: Callable[[Sequence[Line]], tuple[list[dict[str, Any]], Any]]) -> Any:
        """Tell what `make` says of the graph of now, (statements, answer), and return the answer."""
        files.make_folder(self._shelf.folder, durable=True)
        with self._turn, memory.locked(self.folder / "lock"):
            says, answer = make(self._lines())
            if says:
                self._publish(says)
                memory.write_graph(self.folder, _statements.merged(self._told, self._shelf))
        return answer

    def _publish(self, says: Sequence[dict[str, Any]]) -> None:
        if len(says) > MAX_STATEMENTS:
            raise Trouble(
                "mcp", f"{len(says)} statements in one call; at most {MAX_STATEMENTS}: make several calls of it"
            )
        if long := [text for one in says for text in one.values() if isinstance(text, str) and len(text) > MAX_TEXT]:
            raise Trouble("mcp", f"a text of {len(long[0]):,} characters; at most {MAX_TEXT:,}: keep it in a file")
        first = self._shelf.last + 1
        made = [_statements.checked(_statements.statement(n=n, **one)) for n, one in enumerate(says, first)]
        if any(len(files.canonical(one)) > _statements.MAX_STATEMENT for one in made):
            raise Trouble("mcp", "too much is deleted at once; make several calls of it")
        folder_fd = os.open(self._shelf.folder, files.FOLDER)
        try:
            if taken := files.publish_many(folder_fd, [(f"{one['id']}.json", files.canonical(one)) for one in made]):
                raise Trouble("mcp", f"{_statements.SHELF}/{taken[0]}: is in the way and no statement; remove it")
        finally:
            os.close(folder_fd)
        for one in made:
            self._shelf.take(one)

    def _observations(self, name: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        """What tells these observations, each once; one that is told and waits for its entity is not told again."""
        new = [text for text in dict.fromkeys(texts) if not self._shelf.says("observation", entity=name, text=text)]
        return [{"kind": "observation", "entity": name, "text": text} for text in new]

    def _not_of_runs(self, names: set[str]) -> None:
        if names:
            where = f"{self.folder.name}/observations"
            raise Trouble(
                "mcp", f"{min(names)}: is what runs told, kept in {where}; only its file can be removed, by hand"
            )

    def _bounded(self, graph: dict[str, list[Line]]) -> Graph:
        if (size := len(files.canonical(graph))) > MAX_ANSWER:
            raise Trouble(
                "mcp", f"{size:,} bytes, more than {MAX_ANSWER:,}; ask for less, with search_nodes or open_nodes"
            )
        return Graph(entities=graph["entities"], relations=graph["relations"])  # type: ignore[typeddict-item]


def _edge(one: Any) -> tuple[str, str, str]:
    return one["from"], one["to"], one["relationType"]


def _relation(one: Relation) -> dict[str, Any]:
    return {"kind": "relation", "from": one["from"], "to": one["to"], "how": one["relationType"]}


def _deleted(ids: Sequence[str]) -> list[dict[str, Any]]:
    """What deletes these statements: one file for all of one call."""
    return [{"kind": "deleted", "ids": sorted(set(ids))}] if ids else []
