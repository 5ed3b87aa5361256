"""Imports of what was renamed, moved or removed, and imports that a mend needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agents.mending import table
from agents.mending.installed import LIBRARIES, Installed
from agents.mending.kinds import last
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice, Text, without


def bring(script: Script, dotted: str, line: int) -> tuple[str, list[Splice]]:
    """Return the name under which a line can use a library's object, and what imports it where nothing does yet."""
    module, _, name = dotted.rpartition(".")
    top = [one for one in script.tree.body if isinstance(one, ast.Import | ast.ImportFrom) and one.lineno < line]
    froms = [one for one in top if isinstance(one, ast.ImportFrom) and not one.level and one.module == module]
    for alias in (alias for one in froms for alias in one.names):
        if alias.name == name:
            return alias.asname or name, []
    for statement in froms:
        if statement.names[0].name != "*":
            start = script.text.span(statement.names[-1])[0]
            alone = script.text.begins_line(start) and script.text.of(statement).endswith(")")
            between = f",\n{script.text.indent(start)}" if alone else ", "
            return name, [Splice(start, start, f"{name}{between}")]
    for alias in (alias for one in top if isinstance(one, ast.Import) for alias in one.names):
        if alias.name == module and (alias.asname or "." not in module):
            return f"{alias.asname or module}.{name}", []
    place = _first_place(script)
    return name, [Splice(place, place, f"from {module} import {name}\n")]


def _first_place(script: Script) -> int:
    """Return where a new import line goes: after the docstring and the imports from the future."""
    for place, one in enumerate(script.tree.body):
        words = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and place == 0
        if not words and not (isinstance(one, ast.ImportFrom) and one.module == "__future__"):
            return script.text.line_start(script.text.span(one)[0])
    return len(script.text.data)


def guarded(script: Script, node: ast.AST) -> bool:
    """Say whether an import stands in a `try`, so that the script is ready to do without it."""
    return any(True for _ in script.enclosing(node, ast.Try))


def missing(script: Script, installed: Installed) -> Iterator[tuple[ast.Import | ast.ImportFrom, ast.alias, str]]:
    """Yield the imports of an installed library's names that are not there."""
    for statement, alias, dotted in script.imports():
        if dotted.partition(".")[0] in LIBRARIES and not guarded(script, statement):
            answer = installed.ask(dotted)
            if not answer["exists"] and "missing" not in answer:
                yield statement, alias, dotted


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    for statement, alias, dotted in missing(script, installed):
        if isinstance(statement, ast.ImportFrom):
            yield from _one(script, installed, statement, alias, dotted)
    yield from _attributes(script, installed)


def _one(
    script: Script, installed: Installed, statement: ast.ImportFrom, alias: ast.alias, dotted: str
) -> Iterator[Mend]:
    entry = table.symbol(dotted, installed)
    name = alias.asname or alias.name
    if entry and entry["kind"] == "supply":
        change = Change(statement.lineno, f"wrote {alias.name} into the script", entry["why"])
        yield Mend([_instead(script, statement, alias, "\n" + table.supplied(entry["new"]))], [change])
        return
    new, why = _moved(installed, dotted) if entry is None else (entry["new"], entry["why"])
    if new is not None:
        yield _renamed(script, statement, alias, new, why)
    elif not script.uses(name):
        change = Change(
            statement.lineno, f"dropped the import of {alias.name}", f"{dotted} is gone, and nothing uses it"
        )
        yield Mend([_instead(script, statement, alias, "")], [change])


def _moved(installed: Installed, dotted: str) -> tuple[str | None, str]:
    """Return where the one definition of a name is now; None where there is none, or more than one."""
    name = last(dotted)
    public = [f"{one}.{name}" for one in installed.ask(dotted).get("found", []) if "._" not in one]
    if len(public) == 1 and installed.ask(public[0])["exists"]:
        return public[0], f"{dotted} moved to {public[0].rpartition('.')[0]}"
    return None, ""


def _renamed(script: Script, statement: ast.ImportFrom, alias: ast.alias, new: str, why: str) -> Mend:
    """Return the mend that imports an object under its new name, and uses it by that name."""
    module, _, name = new.rpartition(".")
    splices: list[Splice] = []
    known = next((one for one, whole in script.names.items() if whole == new), None)
    called = known or alias.asname or name
    if known is None and module == statement.module:
        splices.append(Splice(*script.text.span(alias), f"{name} as {alias.asname}" if alias.asname else name))
    else:
        written = f"from {module} import {name}" + (f" as {alias.asname}" if alias.asname else "")
        splices.append(_instead(script, statement, alias, "" if known else written))
    before = alias.asname or alias.name
    if called != before:
        splices += [Splice(*script.text.span(use), called) for use in script.uses(before)]
    return Mend(splices, [Change(statement.lineno, f"{statement.module}.{alias.name} → {new}", why)])


def _instead(script: Script, statement: ast.ImportFrom, alias: ast.alias, written: str) -> Splice:
    """Return the splice that takes one name out of an import and writes something else: there, or on a line before."""
    text = script.text
    start, end = text.span(statement)
    if len(statement.names) == 1:
        return Splice(start, end, written or "pass")
    kept = _kept(text, statement, statement.names.index(alias))
    # One splice over the whole statement: several would not be apart from a neighbour's.
    return Splice(start, end, f"{kept}\n{text.indent(start)}{written}" if written else kept)


def _kept(text: Text, statement: ast.ImportFrom, index: int) -> str:
    """Return an import without one of its names; with backslashes it is written anew, in one line."""
    start, end = text.span(statement)
    if text.data[start:end].endswith(b")"):
        taken = without(text, [text.span(one) for one in statement.names], index)
        return (text.data[start : taken.start] + text.data[taken.end : end]).decode("utf-8")
    names = [text.of(one) for place, one in enumerate(statement.names) if place != index]
    return f"from {statement.module} import {', '.join(names)}"


def _attributes(script: Script, installed: Installed) -> Iterator[Mend]:
    """Mend `transformers.AdamW` where the module is imported and the attribute is gone."""
    for node in ast.walk(script.tree):
        if not isinstance(node, ast.Attribute):
            continue
        dotted = script.dotted(node)
        entry = table.symbol(dotted, installed) if dotted else None
        if dotted is None or entry is None or entry["kind"] != "symbol" or installed.ask(dotted)["exists"]:
            continue
        base, same = (
            script.text.of(node).rpartition(".")[0],
            entry["new"].rpartition(".")[0] == dotted.rpartition(".")[0],
        )
        called, splices = (f"{base}.{last(entry['new'])}", []) if same else bring(script, entry["new"], node.lineno)
        change = Change(node.lineno, f"{dotted} → {entry['new']}", entry["why"])
        yield Mend([Splice(*script.text.span(node), called), *splices], [change])
