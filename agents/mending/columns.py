"""Columns of a data set, which were lists and are lazy views now: listed again where a list may be meant."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agents.mending.installed import Installed
from agents.mending.kinds import DATASET, kind_of
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice
from agents.mending.table import numbers

LAZY = (4, 0)  # the first datasets whose ds["column"] is a view
WHY = 'ds["column"] was a list and is a lazy view since datasets 4, which a tokeniser refuses and `+` cannot join'
# Those are splits of a DatasetDict, should the guess of what it is be wrong.
SPLITS = frozenset("train test validation valid val eval dev".split())
FORMATS = frozenset("set_format with_format set_transform with_transform".split())  # a column is a tensor then, or more


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    if numbers(installed.version("datasets") or "0") < LAZY:
        return
    if any(isinstance(node, ast.Attribute) and node.attr in FORMATS for node in ast.walk(script.tree)):
        return
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _column(script, node):
            start, end = script.text.span(node)
            change = Change(node.lineno, f"{script.text.of(node)} as a list", WHY)
            yield Mend([Splice(start, start, "list("), Splice(end, end, ")")], [change])


def _column(script: Script, node: ast.Subscript) -> bool:
    key = node.slice
    if not isinstance(key, ast.Constant) or not isinstance(key.value, str) or key.value in SPLITS:
        return False
    parent = script.parents.get(node)
    # A view can be gone through, counted and indexed as the list could.
    used_as_view = isinstance(parent, ast.Subscript | ast.For | ast.comprehension | ast.Compare | ast.Attribute)
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name):
        used_as_view = used_as_view or parent.func.id in ("list", "len", "zip", "enumerate", "set", "max", "min", "map")
    return not used_as_view and kind_of(script, node.value) == DATASET
