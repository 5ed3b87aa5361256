"""Keywords that moved from a trainer into its config: from SFTTrainer(packing=True) to SFTConfig(packing=True)."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from agents.mending import table
from agents.mending.arguments import add, by_place, constant, remove, source
from agents.mending.imports import bring
from agents.mending.installed import Installed
from agents.mending.kinds import last
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice
from agents.mending.targets import Given, Target, targets

GENERAL = "transformers.TrainingArguments"


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    every = list(targets(script, installed))
    for target in every:
        classes = target.answer.get("configs")
        if not classes or not target.closed:
            continue
        config = classes[0]
        moves = _moves(target, installed, config)
        for given, new, why in moves:
            if new is None:
                what = f"{last(target.dotted)}: dropped {given.name}"
                yield Mend(remove(script, given), [Change(given.value.lineno, what, why)])
        kept = [one for one in moves if one[1] is not None]
        if kept or _too_plain(script, every, target, classes):
            yield _moved(script, installed, every, target, config, kept)


def _moves(target: Target, installed: Installed, config: str) -> list[tuple[Given, str | None, str]]:
    """Return (keyword, its name in the config or None to drop it, the reason) of what the trainer no longer takes."""
    answer = installed.ask(config)
    entries = table.keywords(answer["is"], installed)
    found: list[tuple[Given, str | None, str]] = []
    for given in target.given:
        if target.accepts(given.name) or _named(target, installed, given):
            continue
        entry = next((one for one in entries if one.get("old") == given.name and _meant(one, given)), None)
        if given.name in answer["parameters"]:
            why = f"{given.name} moved from {last(target.dotted)} to {last(config)}"
            found.append((given, given.name, why))
        elif entry and entry["kind"] == "rename":
            found.append((given, entry["new"], entry["why"]))
        elif entry and entry["kind"] == "drop":
            found.append((given, None, entry["why"]))
    return found


def _too_plain(script: Script, every: list[Target], target: Target, classes: list[str]) -> bool:
    """Say whether a trainer that takes only its own config is given the general TrainingArguments."""
    given = target.has("args")
    args = given.value if given else by_place(target, "args")
    call = script.origin(args) if isinstance(args, ast.Name) else args
    made = next((one for one in every if one.call is call), None)
    return GENERAL not in classes and made is not None and made.answer.get("is", [])[:1] == [GENERAL]


def _named(target: Target, installed: Installed, given: Given) -> bool:
    """Say whether the table knows a new name of the keyword in the trainer itself."""
    return any(one.get("old") == given.name for one in table.keywords(target.kin, installed))


def _meant(entry: table.Entry, given: Given) -> bool:
    return "value" not in entry or entry["value"] == constant(given.value)


def _moved(
    script: Script,
    installed: Installed,
    every: list[Target],
    target: Target,
    config: str,
    moves: list[tuple[Given, str | None, str]],
) -> Mend:
    """Return the mend that takes keywords from the trainer's call and gives them to the config it is called with."""
    pairs = {new: source(script, given.value) for given, new, _ in moves if new}
    changes = [
        Change(given.value.lineno, f"{last(target.dotted)}: {given.name} → {last(config)}({new}=…)", why)
        for given, new, why in moves
    ]
    moved = [given for given, _, _ in moves]
    removed = remove(script, *moved)
    given_args = target.has("args")
    args = given_args.value if given_args else by_place(target, "args")
    if args is None:
        called, brought = bring(script, config, target.call.lineno)
        value = f"{called}({', '.join(f'{key}={one}' for key, one in pairs.items())})"
        return Mend([*removed, add(script, target.call, {"args": value}, gone=moved), *brought], changes)
    made = _made(script, every, target, args, installed.ask(config)["is"])
    if made is not None and _known_there(script, made.call, [given.value for given in moved], target.call):
        splices, more = _into(script, installed, made, config, pairs)
        return Mend([*removed, *splices], [*changes, *more])
    called, brought = bring(script, config, target.call.lineno)
    name = source(script, args)
    # to_dict hides the token; the rest is what trl itself does with TrainingArguments.
    every_pair = {"hub_token": f"{name}.hub_token", **pairs}
    written = ", ".join(f'"{key}": {one}' for key, one in every_pair.items())
    value = f"{called}(**{{**{name}.to_dict(), {written}}})"
    if not changes:
        why = f"{last(target.dotted)} takes only its own {last(config)}"
        changes = [Change(target.call.lineno, f"{last(target.dotted)}: args as {last(config)}", why)]
    return Mend([*removed, Splice(*script.text.span(args), value), *brought], changes)


def _made(script: Script, every: list[Target], target: Target, args: ast.expr, kin: list[str]) -> Target | None:
    """Return the call that makes the trainer's config, where all of its keywords are known and it can be edited."""
    call = script.origin(args) if isinstance(args, ast.Name) else args
    found = next((one for one in every if one.call is call), None)
    if found is None or found.own or not found.whole or not set(found.answer.get("is", [])[:1]) <= set(kin):
        return None
    inline = any(one is target.call for one in script.enclosing(found.call, ast.Call))
    return found if inline or script.scope(found.call) is script.scope(target.call) else None


def _known_there(script: Script, made: ast.Call, values: list[ast.expr], trainer: ast.Call) -> bool:
    """Say whether every name in the values stands for the same where the config is made as at the trainer."""
    for value in values:
        for name in (one for one in ast.walk(value) if isinstance(one, ast.Name)):
            lines = [line for line, _ in script.bindings.get((script.scope(made), name.id), [])]
            outer = not lines and (name.id in script.names or hasattr(builtins, name.id) or _outer(script, name))
            if not outer and (not lines or any(made.lineno <= line <= trainer.lineno for line in lines)):
                return False
            if lines and min(lines) > made.lineno:
                return False
    return True


def _outer(script: Script, name: ast.Name) -> bool:
    return any(name.id == bound for _, bound in script.bindings)


def _into(
    script: Script, installed: Installed, made: Target, config: str, pairs: dict[str, str]
) -> tuple[list[Splice], list[Change]]:
    """Return the splices that add keywords to the config's call, which becomes the trainer's own config class."""
    there = {name: given for name in pairs if (given := made.has(name))}
    splices = [Splice(*script.text.span(given.value), pairs[name]) for name, given in there.items()]
    new = {name: value for name, value in pairs.items() if name not in there}
    if made.answer["is"][:1] == installed.ask(config)["is"][:1]:
        return [*splices, *([add(script, made.call, new)] if new else [])], []
    called, brought = bring(script, config, made.call.lineno)
    pins = _pins(made, installed.ask(config))
    what = f"{last(made.dotted)} → {last(config)}" + (f", with {', '.join(pins)} as before" if pins else "")
    why = f"{last(config)} holds what moved; defaults that differ from {last(made.dotted)}'s are written out"
    renamed = Splice(*script.text.span(made.call.func), called)
    return [*splices, renamed, add(script, made.call, {**new, **pins}), *brought], [Change(made.call.lineno, what, why)]


def _pins(made: Target, config: dict[str, object]) -> dict[str, str]:
    """Return the defaults of the old class that the new one would change."""
    old, new = made.answer["parameters"], config["parameters"]
    assert isinstance(new, dict)
    return {
        name: value if value != "None" else "False" if new[name] in ("True", "False") else value
        for name, value in old.items()
        if value is not None and name in new and new[name] != value and made.has(name) is None
    }
