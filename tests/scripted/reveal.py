"""Answers that give a secret back: `{key}` in any text of an act stands for the key that the request came with."""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import Any

FORMS = {
    "{key}": str,
    "{key base64}": lambda key: base64.b64encode(key.encode()).decode(),
    "{key hex}": lambda key: key.encode().hex(),
    "{key quoted}": lambda key: urllib.parse.quote(key, safe=""),
    "{key reversed}": lambda key: key[::-1],
    "{key escaped}": lambda key: "".join(f"\\u{ord(one):04x}" for one in key),
    "{key json}": lambda key: json.dumps(key)[1:-1],
}


def revealed(act: Any, authorization: str | None) -> Any:
    """The same act, with what its texts say of the request's key."""
    if isinstance(act, str) and "{key" in act:
        key = (authorization or "").removeprefix("Bearer ")
        for name, form in FORMS.items():
            act = act.replace(name, form(key))
    if isinstance(act, dict):
        return {name: revealed(value, authorization) for name, value in act.items()}
    return act
