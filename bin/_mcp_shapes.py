"""What the memory's nine tools take and give, as the memory server has it."""

from __future__ import annotations

import _start

from typing_extensions import TypedDict  # the standard library's is none for pydantic before Python 3.12


class Entity(TypedDict):
    name: str
    entityType: str
    observations: list[str]


Relation = TypedDict("Relation", {"from": str, "to": str, "relationType": str})


class Addition(TypedDict):
    entityName: str
    contents: list[str]


class Added(TypedDict):
    entityName: str
    addedObservations: list[str]


class Deletion(TypedDict):
    entityName: str
    observations: list[str]


class Entities(TypedDict):
    entities: list[Entity]


class Relations(TypedDict):
    relations: list[Relation]


class Results(TypedDict):
    results: list[Added]


class Done(TypedDict):
    success: bool
    message: str


class Graph(TypedDict):
    entities: list[Entity]
    relations: list[Relation]
