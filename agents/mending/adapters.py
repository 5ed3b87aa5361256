"""What changed around LoRA adapters: a model wrapped twice, and a state_dict that makes the saved adapter empty."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agents.mending import kinds
from agents.mending.arguments import by_place as placed
from agents.mending.arguments import remove, source
from agents.mending.imports import bring
from agents.mending.installed import Installed
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice
from agents.mending.table import numbers
from agents.mending.targets import Target, targets

TWICE = "the model has its adapter already: older trl ignored peft_config then, this one refuses both"
TRL_REFUSES, PEFT_STRIPS = (0, 24), (0, 3)  # the first versions that refuse both; that strip names when they save
STRIPS = frozenset({"peft.get_peft_model_state_dict", "peft.utils.get_peft_model_state_dict"})
EMPTY = "peft strips the adapter's names itself when it saves: stripped twice, the saved adapter would be empty"


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    if numbers(installed.version("trl") or "0") >= TRL_REFUSES:
        for target in targets(script, installed):
            if "peft_config" in (target.answer.get("parameters") or {}) and "transformers.Trainer" in target.kin:
                yield from _twice(script, target)
    if numbers(installed.version("peft") or "0") >= PEFT_STRIPS:
        yield from _stripped_twice(script)


def _twice(script: Script, target: Target) -> Iterator[Mend]:
    """Drop the trainer's peft_config where its model is surely wrapped; ask at run time where it may be."""
    given = target.has("peft_config")
    model_given = target.has("model")
    model = model_given.value if model_given else placed(target, "model")
    if given is None or model is None or isinstance(given.value, ast.IfExp | ast.Constant):
        return
    if kinds.kind_of(script, model) == kinds.ADAPTED:
        yield Mend(remove(script, given), [Change(given.value.lineno, "dropped peft_config of the trainer", TWICE)])
    elif isinstance(model, ast.Name) and _may_be(script, model):
        called, splices = bring(script, kinds.ADAPTED, model.lineno)
        value = f"None if isinstance({model.id}, {called}) else {source(script, given.value)}"
        change = Change(given.value.lineno, "peft_config only where the model has no adapter yet", TWICE)
        yield Mend([Splice(*script.text.span(given.value), value), *splices], [change])


def _may_be(script: Script, model: ast.Name) -> bool:
    """Say whether a model whose making is out of sight may be wrapped: the script wraps one somewhere."""
    wraps = any(script.dotted(call.func) == "peft.get_peft_model" for call in script.calls())
    return wraps and (script.is_parameter(model) or script.origin(model) is None)


def _stripped_twice(script: Script) -> Iterator[Mend]:
    """Take out `model.state_dict = (lambda …: get_peft_model_state_dict(…))`, which 2023's peft needed."""
    for node in ast.walk(script.tree):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        where = node.targets[0]
        strips = any(isinstance(one, ast.Call) and script.dotted(one.func) in STRIPS for one in ast.walk(node.value))
        if isinstance(where, ast.Attribute) and where.attr == "state_dict" and strips:
            change = Change(node.lineno, f"dropped the assignment to {script.text.of(where)}", EMPTY)
            yield Mend([Splice(*script.text.span(node), "pass")], [change])
