"""Every schema is a valid one with a golden example that it accepts, and that breaks when a required key is missing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest

from bus import schema

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def example(name: str) -> dict:
    return json.loads((FOLDER / "examples" / f"{name}.json").read_text("utf-8"))


def test_every_schema_has_one_example_and_every_example_a_schema() -> None:
    assert NAMES and sorted(path.stem for path in (FOLDER / "examples").glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_schema(name: str) -> None:
    document = load(name)
    assert re.fullmatch(r"[a-z][a-z0-9_-]*\.v[0-9]+", name)
    assert document["$schema"] == DIALECT and document["title"]
    jsonschema_rs.meta.validate(document)
    assert next(iter(document["properties"].items())) == ("schema", {"const": name})
    assert document["additionalProperties"] is False
    assert "schema" in document["required"]


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str) -> None:
    document = example(name)
    assert next(iter(document)) == "schema"
    assert schema.check(document, name) is document


def breakages(name: str) -> Iterator[tuple[str, dict]]:
    """(what was done, the example without one required key, or with one that is not known)."""
    document = example(name)
    for key in load(name)["required"]:
        yield f"without {key}", {one: value for one, value in document.items() if one != key}
    yield "with an unknown key", {**document, "unknown": 1}
    yield "under another name", {**document, "schema": f"other{name}"}


@pytest.mark.parametrize("name", NAMES)
def test_example_breaks(name: str) -> None:
    for what, document in breakages(name):
        with pytest.raises(schema.Invalid, match=rf"^{re.escape(name)}: "):
            schema.check(document, name)
            pytest.fail(what)


def objects(part: object, where: str = "") -> Iterator[tuple[str, dict]]:
    if isinstance(part, dict):
        if part.get("type") == "object" and "properties" in part:
            yield where, part
        for key, value in part.items():
            yield from objects(value, f"{where}/{key}")
    elif isinstance(part, list):
        for at, value in enumerate(part):
            yield from objects(value, f"{where}/{at}")


@pytest.mark.parametrize("name", NAMES)
def test_every_object_inside_is_closed(name: str) -> None:
    for where, part in objects(load(name)):
        assert part.get("additionalProperties") is not None, f"{name}: {where}: says nothing of other keys"


def test_what_is_wrong_and_where() -> None:
    request = example("request.v1")
    with pytest.raises(schema.Invalid, match=r'^request\.v1: round: "one" is not of type "integer"$'):
        schema.check({**request, "round": "one"}, "request.v1")
    with pytest.raises(schema.Invalid, match=r"there is no schemas/none\.v1\.json"):
        schema.check({}, "none.v1")
    with pytest.raises(schema.Invalid, match="not a schema's name"):
        schema.check({}, "../run.v1")
    with pytest.raises(schema.Invalid) as long:
        schema.check({**request, "id": "x" * 10_000}, "request.v1")
    assert len(str(long.value)) < 300
    odd_ones: list[object] = [{**request, "id": "\ud800"}, {1: 2}, [], None, "text"]
    for odd in odd_ones:
        with pytest.raises(schema.Invalid, match=r"^request\.v1: "):
            schema.check(odd, "request.v1")


def test_one_validator_is_kept() -> None:
    assert schema._validator("request.v1") is schema._validator("request.v1")
