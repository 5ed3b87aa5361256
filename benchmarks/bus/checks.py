"""What validation costs on the hot path: microseconds per message, request and reply, beside other validators."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.bus import boxes, measure, peers
from bus import schema

LOOPS, REPETITIONS = 2000, 7
TARGET_US = 10.0
MESSAGES: dict[str, dict[str, Any]] = {
    "observation.v1": boxes.document(0),
    "remembered.v1": {"schema": "remembered.v1", "observation": boxes.document(0), "request_sha256": "0" * 64},
}
Check = Callable[[dict[str, Any]], Any]


def ours(name: str) -> Check:
    return lambda document: schema.check(document, name)


def kept_jsonschema(name: str) -> Check:
    return peers.load("jsonschema").Draft202012Validator(loaded(name)).validate


def jsonschema_call(name: str) -> Check:
    """`jsonschema.validate`, which looks at the schema anew each time."""
    known, validate = loaded(name), peers.load("jsonschema").validate
    return lambda document: validate(document, known)


def fastjsonschema(name: str) -> Check:
    return peers.load("fastjsonschema").compile(loaded(name))


def loaded(name: str) -> dict[str, Any]:
    return dict(json.loads((schema.FOLDER / f"{name}.json").read_text()))


CONTENDERS: dict[str, tuple[Callable[[str], Check], int]] = {
    "**schema.check** (jsonschema-rs, kept)": (ours, 1),
    "fastjsonschema, compiled and kept": (fastjsonschema, 1),
    "jsonschema, kept validator": (kept_jsonschema, 10),
    "jsonschema.validate": (jsonschema_call, 100),
}


def run(quick: bool) -> None:
    measure.say("validation")
    measure.head(
        f"Validation of a {boxes.SIZE:,}-byte request and of its reply, µs per message (request and reply together)",
        *("how", "request", "reply", "both", "target", ""),
    )
    for name, (make, share) in CONTENDERS.items():
        try:
            times = list(timed(make, max(1, LOOPS // share // (20 if quick else 1))))
        except (ImportError, ValueError) as error:
            measure.row(name, f"failed: {error}", "-", "-", "-", "")
            continue
        both = [sum(pair) for pair in zip(*times, strict=True)]
        target = ("-", "")
        if make is ours:
            target = f"≤ {TARGET_US:.0f} µs", measure.verdict(measure.median(both) <= TARGET_US)
        measure.row(name, *(measure.spread(one, ".2f") for one in (*times, both)), *target)


def timed(make: Callable[[str], Check], loops: int) -> Iterator[list[float]]:
    """For request and reply: microseconds of one check, several times; AssertionError if it lets a bad one pass."""
    for name, document in MESSAGES.items():
        check = make(name)
        try:
            check({**document, "schema": "other.v1"})
        except Exception as refused:  # noqa: BLE001 - each library has a class of its own for this
            assert "other.v1" in str(refused) or "observation.v1" in str(refused) or name in str(refused), refused
        else:
            raise AssertionError(f"{make.__name__} lets a bad {name} pass")
        times = timeit.repeat(partial(check, document), number=loops, repeat=REPETITIONS)
        yield [1e6 * one / loops for one in times]
