"""The tools of a replayed step: they say again what they said to its original, and no server is started.

It has what `Tools` of agents/_tools.py has for those who call: `known`, `call`, `close`, and the `room` of then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from agents import _original
from agents._ask import NotReplayed
from agents._original import Original
from agents._session import Result, Tool
from agents._tools import refused


class Retold:
    """What the original knew and was told in one step and round; `keep` is given the file of each of its calls."""

    def __init__(self, told: Original, keep: Callable[[str, dict[str, Any]], None]) -> None:
        found = told.read(_original.TOOLS, "tools.v1") or {"room": 0, "tools": []}
        self.room: int = found["room"]
        self.known = {one["name"]: Tool(one["name"], one["about"], one["arguments"]) for one in found["tools"]}
        self._said: dict[str, Result] = {}
        for name in told.names(_original.CALLS):  # by number: what a later try was told counts
            document = told.read(name, "tool.v1")
            keep(name, document)
            said = Result(document["text"], document["data"], document["error"], document["cut"])
            self._said[_asked(document["tool"], document["arguments"])] = said

    def call(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """What was said to this call then; raises NotReplayed."""
        if wrong := refused(name, arguments, self.known):
            return Result("", error=wrong)
        try:
            return self._said[_asked(name, arguments)]
        except KeyError:
            raise NotReplayed(
                f"{name} {str(dict(arguments))[:60]}: is not among the replayed calls of tools; its file is gone from "
                f"{_original.CALLS} of the original's reply, or an answer of the model is another now"
            ) from None

    def close(self) -> None:
        """End nothing: nothing runs."""


def _asked(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps([name, arguments], sort_keys=True)
