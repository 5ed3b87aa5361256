"""Methods that a script's class overrides, and that the library now calls with more than they take."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agents.mending.installed import Installed
from agents.mending.kinds import local_base
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice

TRAINER, LOSS, TOKENS = "transformers.Trainer", "compute_loss", "num_items_in_batch"
SCALED = "loss_is_scaled_for_ga"  # the attribute of Trainer that says who divides by the accumulation steps


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    for name, node in script.classes.items():
        base = local_base(script, name)
        if base is None:
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.decorator_list and method.name != "__init__":
                yield from _one(script, installed, base, node, method)


def _one(
    script: Script, installed: Installed, base: str, owner: ast.ClassDef, method: ast.FunctionDef
) -> Iterator[Mend]:
    answer = installed.ask(f"{base}.{method.name}")
    parameters = answer.get("parameters")
    if not parameters or method.args.kwarg or method.args.vararg or method.args.kwonlyargs:
        return
    own = [one.arg for one in [*method.args.posonlyargs, *method.args.args]][1:]
    new = [one for one in parameters if one not in own and one not in answer["required"]]
    if not new or not set(own) <= set(parameters) or not own:
        return
    end = max(script.text.span(one)[1] for one in [*method.args.args, *method.args.defaults])
    head = ", ".join(f"{one}={parameters[one] or 'None'}" for one in new)
    splices = [Splice(end, end, f", {head}")]
    changes = [Change(method.lineno, f"{owner.name}.{method.name} takes {', '.join(new)}", _why(base, method.name))]
    if method.name == LOSS and TOKENS in new and installed.ask(f"{TRAINER}.{SCALED}")["exists"]:
        start = _first(script, owner)
        splices.append(Splice(start, start, f"{SCALED} = False\n{script.text.indent(start)}"))
        why = "the override's loss is the mean of a micro-batch: the trainer divides it by the accumulation steps"
        changes.append(Change(owner.lineno, f"{owner.name}.{SCALED} = False", why))
    yield Mend(splices, changes)


def _first(script: Script, owner: ast.ClassDef) -> int:
    """Return where a class's first statement begins, after its docstring and with its decorator."""
    words = ast.get_docstring(owner, clean=False) is not None
    first = owner.body[1 if words else 0]  # a class that overrides a method has one
    decorators = getattr(first, "decorator_list", [])
    return script.text.span(decorators[0])[0] - 1 if decorators else script.text.span(first)[0]


def _why(base: str, method: str) -> str:
    return f"{base}.{method} is called with more than it was when the override was written"
