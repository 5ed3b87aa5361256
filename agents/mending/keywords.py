"""Keywords that a callable no longer takes: renamed, dropped, rewritten or gathered into an object."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase

from agents.mending import table
from agents.mending.arguments import add, constant, remove, rename, replace, source
from agents.mending.imports import bring
from agents.mending.installed import Installed
from agents.mending.kinds import last
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice
from agents.mending.targets import Given, Target, targets

MIN_PREFIX = 3  # letters that a word must keep to count as its abbreviation: eval of evaluation


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    for target in targets(script, installed):
        entries = table.keywords(target.kin, installed)
        gone = [one for one in target.given if not stays(target, one)]
        seen: set[str] = set()
        for given in gone:
            entry = entry_of(entries, given)
            if entry is not None and entry["kind"] == "gather":
                if entry["new"] not in seen:
                    yield _gathered(script, target, entry)
                seen.add(entry["new"])
            elif entry is not None:
                yield from _mended(script, target, given, entry)
            elif target.closed:
                yield from _guessed(script, target, given, entries)
        yield from _pinned(script, target, entries)
        yield from _valued(script, target, entries)


def stays(target: Target, given: Given) -> bool:
    """Say whether the callable has a parameter of this name; an open one may take it or refuse it later."""
    parameters = target.answer.get("parameters")
    return given.name in target.extra or (parameters is not None and given.name in parameters)


def entry_of(entries: list[table.Entry], given: Given) -> table.Entry | None:
    for entry in entries:
        olds = entry["old"] if isinstance(entry.get("old"), list) else [entry.get("old", "")]
        if any(fnmatchcase(given.name, old) for old in olds):
            if "value" not in entry or entry["value"] == constant(given.value):
                return entry
    return None


def _mended(script: Script, target: Target, given: Given, entry: table.Entry) -> Iterator[Mend]:
    where = f"{last(target.dotted) if target.dotted else ''}: "
    line = given.value.lineno
    new = entry.get("new", "")
    there = target.has(new) if new else None
    if entry["kind"] == "drop":
        yield Mend(remove(script, given), [Change(line, f"{where}dropped {given.name}", entry["why"])])
    elif entry["kind"] == "rename" and there is not None:
        change = Change(line, f"{where}dropped {given.name}", f"{entry['why']}, which is given, too")
        yield Mend(remove(script, given), [change])
    elif entry["kind"] == "rename":
        yield Mend([rename(script, given, new)], [Change(line, f"{where}{given.name} → {new}", entry["why"])])
    elif entry["kind"] == "wrap":
        yield _wrapped(script, target, given, entry, there)


def _wrapped(script: Script, target: Target, given: Given, entry: table.Entry, there: Given | None) -> Mend:
    where, line, new = f"{last(target.dotted)}: ", given.value.lineno, entry["new"]
    plain = constant(given.value)
    called, splices = bring(script, entry["bring"], line) if "bring" in entry else ("", [])
    computed = entry["as"].format(value=source(script, given.value), brought=called)
    value: str | None = entry.get("constants", {}).get(plain, computed)
    dropped = Change(line, f"{where}dropped {given.name}", entry["why"])
    if value is None:
        return Mend(remove(script, given), [dropped])
    if there is None:
        change = Change(line, f"{where}{given.name} → {new}={value}", entry["why"])
        return Mend([*replace(script, given, new, value), *splices], [change])
    beside = constant(there.value)
    if entry.get("beside") != "or" or (beside is not None and beside not in ("0", "0.0", "None")):
        return Mend(remove(script, given), [dropped])
    joined = value if beside is not None else f"{source(script, there.value)} or {value}"
    change = Change(line, f"{where}{given.name} → {new}={joined}", entry["why"])
    return Mend([*remove(script, given), *replace(script, there, new, joined)], [change])


def _gathered(script: Script, target: Target, entry: table.Entry) -> Mend:
    """Return the mend that makes one object of several keywords; of none, where all of them are off."""
    olds = [one for one in target.given if any(fnmatchcase(one.name, old) for old in entry["old"])]
    line, where = olds[0].value.lineno, f"{last(target.dotted)}: "
    names = ", ".join(one.name for one in olds)
    kept = [one for one in olds if constant(one.value) not in ("False", "None")]
    switches = [one for one in kept if one.name.startswith("load_in_")]
    if target.has(entry["new"]) or not switches:
        why = f"{entry['new']} says it already" if target.has(entry["new"]) else "it is off"
        return Mend(remove(script, *olds), [Change(line, f"{where}dropped {names}", f"{entry['why']}; {why}")])
    called, splices = bring(script, entry["into"], line)
    pairs = ", ".join(f"{one.name}={source(script, one.value)}" for one in kept)
    value = f"{called}({pairs})"
    if all(constant(one.value) is None for one in switches):
        value += f" if {' or '.join(source(script, one.value) for one in switches)} else None"
    change = Change(line, f"{where}{names} → {entry['new']}={value}", entry["why"])
    first = replace(script, olds[0], entry["new"], value)
    return Mend([*first, *remove(script, *olds[1:]), *splices], [change])


def _guessed(script: Script, target: Target, given: Given, entries: list[table.Entry]) -> Iterator[Mend]:
    """Try what the table does not know: an alias of the library's, the same words shortened, or ignored before."""
    where, line = f"{last(target.dotted)}: ", given.value.lineno
    parameters = target.answer.get("parameters") or {}
    aliases = target.answer.get("aliases", {})
    alike = [one for one in parameters if same_words(given.name, one) and target.has(one) is None]
    swallowed = next((one for one in entries if one["kind"] == "swallowed"), None)
    if given.name in aliases or len(alike) == 1:
        new = aliases.get(given.name) or alike[0]
        why = f"{target.dotted} has no {given.name}; {new} is the same in other words"
        yield Mend([rename(script, given, new)], [Change(line, f"{where}{given.name} → {new}", why)])
    elif swallowed is not None:
        yield Mend(remove(script, given), [Change(line, f"{where}dropped {given.name}", swallowed["why"])])


def same_words(old: str, new: str) -> bool:
    """Say whether two names are the same words, one of each pair being the other or its beginning."""
    pairs = list(zip(old.split("_"), new.split("_"), strict=False))
    if old == new or len(old.split("_")) != len(new.split("_")):
        return False
    return all(a == b or (min(len(a), len(b)) >= MIN_PREFIX and (a.startswith(b) or b.startswith(a))) for a, b in pairs)


def _valued(script: Script, target: Target, entries: list[table.Entry]) -> Iterator[Mend]:
    """Replace a value that is no longer one, where it is written in the call: alone, or as a branch of a choice."""
    for entry in (one for one in entries if one["kind"] == "value"):
        given = target.has(entry["name"])
        if given is None:
            continue
        branches = [given.value.body, given.value.orelse] if isinstance(given.value, ast.IfExp) else [given.value]
        for branch in branches:
            if constant(branch) == entry["value"]:
                what = f"{last(target.dotted)}: {entry['name']}={entry['value']} → {entry['to']}"
                splice = Splice(*script.text.span(branch), entry["to"])
                yield Mend([splice], [Change(branch.lineno, what, entry["why"])])


def _pinned(script: Script, target: Target, entries: list[table.Entry]) -> Iterator[Mend]:
    """Write out a default that changed, where the call leaves it to the library."""
    for entry in entries:
        if entry["kind"] != "pin" or target.has(entry["name"]) or not target.whole:
            continue
        if target.answer and entry["name"] not in (target.answer.get("parameters") or {}):
            continue
        if any((given := target.has(key)) and constant(given.value) == value for key, value in entry["unless"].items()):
            continue
        splice: Splice = add(script, target.call, {entry["name"]: entry["value"]})
        what = f"{last(target.dotted)}: {entry['name']}={entry['value']} written out"
        yield Mend([splice], [Change(target.call.lineno, what, entry["why"])])
