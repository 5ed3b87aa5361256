"""Keep what a model wrote by itself out of the exam: no exam question rests on a generated source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents.exam.quality import Drop

Example = dict[str, Any]


def documented(examples: Iterable[Example], rows: Iterable[Mapping[str, Any]]) -> tuple[list[Example], list[Drop]]:
    """Without the exam-worded examples of which a span lies in a generated source; `rows` are source.v1.

    They may be taught: a row of training says what it says, but a verdict may rest on documents alone.
    """
    generated = {row["id"] for row in rows if row["kind"] == "generated"}
    kept, dropped = [], []
    for example in examples:
        named = sorted(generated & {span["source"] for span in example["spans"]})
        if named and example["use"] == "exam":
            dropped.append(Drop(example, "generated", f"{named[0]} was written by a model"))
        else:
            kept.append(example)
    return kept, dropped
