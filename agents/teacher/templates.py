"""The wordings of `agents/teacher/wordings.toml`: how facts of each shape are asked about, to teach or to examine."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WORDINGS = Path(__file__).with_name("wordings.toml")
TEACH, EXAM = "teach", "exam"


@dataclass(frozen=True)
class Template:
    """One wording; its id is the kind and its place among the wordings of that kind, as in `qa.3`."""

    id: str
    shape: str
    kind: str
    use: str
    text: str


@cache
def templates() -> tuple[Template, ...]:
    """Every wording, in the order of the file."""
    made: list[Template] = []
    for shape, own in tomllib.loads(WORDINGS.read_text("utf-8")).items():
        for use in (TEACH, EXAM):
            for text in own[use]:
                number = 1 + sum(one.kind == own["kind"] for one in made)
                made.append(Template(f"{own['kind']}.{number}", shape, own["kind"], use, text))
    return tuple(made)


@cache
def wordings(shape: str, use: str) -> tuple[Template, ...]:
    """The wordings of a shape for one use; () for a shape that is never examined."""
    return tuple(one for one in templates() if one.shape == shape and one.use == use)
