"""The open models whose configs lie in training/configs, found by the names that people give them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .shape import Unplanned

FOLDER = Path(__file__).resolve().parent.parent / "configs"
# What a checkpoint's name says of its quantisation, and endings that leave the shape as it is.
_QUANTISED = {"-gptq-int4": "gptq-int4", "-gptq-int8": "gptq-int8", "-int4": "gptq-int4", "-int8": "gptq-int8",
              "-awq": "awq", "-fp8": "fp8", "-bnb-4bit": "nf4"}  # fmt: skip
_SAME = re.compile(r"-(instruct|chat|base|thinking)(?=-|$)|-(it|hf|\d{4})$")


class Known(NamedTuple):
    """A model of the catalogue: its name there, its config, and the quantisation that its name stated, if any."""

    name: str
    config: Mapping[str, Any]
    quantisation: str | None


@cache
def models() -> Mapping[str, Mapping[str, Any]]:
    """name -> {parameters, also, config}, every family after the other."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found.update(json.loads(path.read_text("utf-8"))["models"])
    return found


@cache
def _names() -> Mapping[str, str]:
    """plain name -> the catalogue's."""
    named = {_plain(other): name for name, entry in models().items() for other in entry["also"]}
    return {**named, **{_plain(name): name for name in models()}}


def _plain(name: str) -> str:
    """A name without its owner, in small letters."""
    return name.rpartition("/")[2].lower().replace("_", ".").removeprefix("meta-")


def find(name: str) -> Known:
    """The model of that name, owner and endings such as -Instruct or -AWQ aside; raises Unplanned."""
    plain, quantised = _plain(name), None
    for ending, meant in _QUANTISED.items():
        if plain.endswith(ending) and quantised is None:
            plain, quantised = plain.removesuffix(ending), meant
    while plain not in _names() and (shorter := _SAME.sub("", plain, count=1)) != plain:
        plain = shorter
    if plain in _names():
        known = _names()[plain]
        return Known(known, models()[known]["config"], quantised)
    near = difflib.get_close_matches(plain, list(_names()), 1, cutoff=0.7)
    hint = f"did you mean {_names()[near[0]]}?" if near else "give its config.json with --config"
    raise Unplanned(f"{name}: is no model known here; {hint}")
