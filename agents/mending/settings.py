"""Settings that a script reads from a JSON file or a command line into TrainingArguments, mended as its calls are."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from agents.mending.installed import Installed
from agents.mending.mend import mend_source
from agents.mending.splice import Change

Settings = dict[str, Any]


def mend_settings(dotted: str, pairs: Mapping[str, Any], installed: Installed) -> tuple[Settings, list[Change]]:
    """Return {name: value} as the class of that dotted name takes it today, and what was changed.

    Names must be identifiers, and values what JSON can hold; ValueError otherwise. Changes carry line 1.
    """
    if bad := [name for name in pairs if not name.isidentifier()]:
        raise ValueError(f"{dotted}: {bad[0]!r} is no name of a setting; take it out")
    module, _, name = dotted.rpartition(".")
    values = {key: json.loads(json.dumps(value)) for key, value in pairs.items()}
    given = ", ".join(f"{key}={value!r}" for key, value in values.items())
    after, changes = mend_source(f"{name}({given})\nfrom {module} import {name}\n", installed)
    call = next(node for node in ast.walk(ast.parse(after)) if isinstance(node, ast.Call))
    mended = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg}
    return mended, [Change(1, one.what, one.why) for one in changes]
