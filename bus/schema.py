"""Load a schema by name, say what is wrong and where.

A schema is `schemas/NAME.vN.json`; a document's first key `"schema"` names it. One validator per schema is
built and kept: building costs milliseconds, checking a message a few microseconds.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
_NAME = re.compile(r"[a-z][a-z0-9_-]*\.v[0-9]+")
MAX_SHOWN = 120  # characters of the offending value that an error line shows


class Invalid(Exception):
    """A document that breaks its schema; the text says which, where and what."""


@functools.cache
def _validator(name: str) -> Any:
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name!r}: not a schema's name; they look like topics.v1")
    try:
        return jsonschema_rs.validator_for(json.loads((FOLDER / f"{name}.json").read_bytes()))
    except FileNotFoundError:
        raise Invalid(f"schema {name}: there is no schemas/{name}.json") from None


def check(document: Any, name: str | None) -> Any:
    """Return `document` if it follows the schema `name` (None: anything does); raises Invalid with place and rule."""
    if name is None:
        return document
    validator = _validator(name)
    try:
        if validator.is_valid(document):
            return document
        error = next(iter(validator.iter_errors(document)))
        where, what = "/".join(map(str, error.instance_path)), str(error.message)
    except ValueError as unreadable:  # a key that is no text, or text with half a character
        where, what = "", str(unreadable)
    shown = what if len(what) <= MAX_SHOWN else what[:MAX_SHOWN] + "…"
    raise Invalid(f"{name}: {where or 'the document'}: {shown}")
