"""Attributes that were renamed: trainer.tokenizer is trainer.processing_class now."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agents.mending import table
from agents.mending.installed import Installed
from agents.mending.kinds import kind_of, local_base
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    for node in ast.walk(script.tree):
        if not isinstance(node, ast.Attribute):
            continue
        kind = _kind(script, node.value)
        if kind is None:
            continue
        for entry in table.attributes(installed.ask(kind).get("is", []), installed):
            if node.attr == entry["old"] and not _set_by_itself(script, node):
                end = script.text.span(node)[1]
                change = Change(node.lineno, f"{script.text.of(node)} → .{entry['new']}", entry["why"])
                yield Mend([Splice(end - len(node.attr.encode()), end, entry["new"])], [change])


def _kind(script: Script, node: ast.expr) -> str | None:
    """Return the class of an expression; of `self`, the library class that the enclosing class inherits from."""
    if isinstance(node, ast.Name) and node.id == "self":
        owner = next(script.enclosing(node, ast.ClassDef), None)
        return local_base(script, owner.name) if isinstance(owner, ast.ClassDef) else None
    return kind_of(script, node)


def _set_by_itself(script: Script, node: ast.Attribute) -> bool:
    """Say whether a class of the script has an attribute of this name of its own, which is not the library's."""
    if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
        return False
    owner = next(script.enclosing(node, ast.ClassDef), None)
    return owner is not None and any(
        isinstance(one, ast.Attribute) and one.attr == node.attr and isinstance(one.ctx, ast.Store)
        for one in ast.walk(owner)
    )
