"""What of a script does not bind to the installed libraries: imports that are gone, calls that would be refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from agents.mending import imports, table
from agents.mending.installed import LIBRARIES, Installed
from agents.mending.keywords import entry_of, stays
from agents.mending.script import Script
from agents.mending.splice import Text
from agents.mending.targets import Target, targets


@dataclass(frozen=True)
class Problem:
    """One thing that would raise when its line runs. `kind`: syntax, package, import, attribute or call."""

    line: int
    kind: str
    what: str


def unbound(text: str, installed: Installed) -> list[Problem]:
    """Return what of a script cannot bind, by line; nothing of the script is run."""
    try:
        script = Script(Text(text))
    except (SyntaxError, ValueError) as error:
        return [Problem(getattr(error, "lineno", None) or 0, "syntax", str(error))]
    found = [*_imports(script, installed), *_attributes(script, installed), *_calls(script, installed)]
    return sorted(set(found), key=lambda one: (one.line, one.what))


def _imports(script: Script, installed: Installed) -> Iterator[Problem]:
    for statement, _, dotted in imports.missing(script, installed):
        yield Problem(statement.lineno, "import", f"{dotted} is not there")
    for statement, _, dotted in script.imports():
        root = dotted.partition(".")[0]
        if root in LIBRARIES and not imports.guarded(script, statement):
            if lacking := installed.ask(dotted).get("missing"):
                yield Problem(statement.lineno, "package", f"{dotted} needs {lacking}, which is not installed")


def _attributes(script: Script, installed: Installed) -> Iterator[Problem]:
    """Yield attributes of imported modules that are gone; an attribute of an attribute only as the longest chain."""
    for node in ast.walk(script.tree):
        inner = isinstance(script.parents.get(node), ast.Attribute)
        if not isinstance(node, ast.Attribute) or inner or isinstance(node.ctx, ast.Store):
            continue
        dotted = script.dotted(node)
        if dotted is None or imports.guarded(script, node):
            continue
        answer = installed.ask(dotted)
        if not answer["exists"] and "missing" not in answer and not _value(installed, dotted):
            yield Problem(node.lineno, "attribute", f"{dotted} is not there")


def _value(installed: Installed, dotted: str) -> bool:
    """Say whether the chain goes through a value or a class, whose attributes may be set when it runs."""
    while "." in dotted:
        dotted = dotted.rpartition(".")[0]
        answer = installed.ask(dotted)
        if answer["exists"]:
            return answer.get("kind") == "value"
    return True  # the import itself is gone: that is told already


def _calls(script: Script, installed: Installed) -> Iterator[Problem]:
    for target in targets(script, installed):
        if target.dotted.startswith("?") or not target.answer.get("exists"):
            continue
        for what in [*_refused(target, installed), *_places(target), *_lacking(target)]:
            yield Problem(target.call.lineno, "call", f"{target.dotted}: {what}")


def _refused(target: Target, installed: Installed) -> Iterator[str]:
    """Yield keywords that would raise: unknown ones of a closed signature, and known removals of an open one."""
    entries = [one for one in table.keywords(target.kin, installed) if one["kind"] not in ("pin", "value", "swallowed")]
    for given in target.given:
        if not stays(target, given) and (target.closed or entry_of(entries, given)):
            yield f"does not take {given.name}"


def _places(target: Target) -> Iterator[str]:
    order = target.answer.get("positional")
    plain = [one for one in target.call.args if not isinstance(one, ast.Starred)]
    if order is not None and target.answer.get("parameters") is not None and not target.own:
        if len(plain) > len(order):
            yield f"takes {len(order)} arguments by place, not {len(plain)}"
        for name in set(order[: len(plain)]) & {one.name for one in target.given}:
            yield f"is given {name} twice"


def _lacking(target: Target) -> Iterator[str]:
    order = target.answer.get("positional")
    if not target.whole or target.own or order is None or target.answer.get("parameters") is None:
        return
    by_place = set(order[: len(target.call.args)])
    for name in target.answer.get("required", []):
        if name not in by_place and target.has(name) is None:
            yield f"lacks {name}"
