"""A formatting_func that was written for batches, or that returns a list, where one example and one text are meant."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agents.mending.arguments import source
from agents.mending.installed import Installed
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Splice
from agents.mending.table import numbers
from agents.mending.targets import targets

ONE_BY_ONE = (0, 20)  # the first trl that gives formatting_func one example and wants one text
WHY = "trl calls formatting_func with one example and wants one text since 0.20; this one {how}"


def mends(script: Script, installed: Installed) -> Iterator[Mend]:
    if numbers(installed.version("trl") or "0") < ONE_BY_ONE:
        return
    for target in targets(script, installed):
        given = target.has("formatting_func")
        if given is None or "trl.SFTTrainer" not in target.kin or not isinstance(given.value, ast.Name):
            continue
        function = script.functions.get(given.value.id)
        if function is None or not function.args.args or not _returns_list(function):
            continue
        name = source(script, given.value)
        if _loops(function):
            new, how = f"lambda example: {name}({{key: [value] for key, value in example.items()}})[0]", "takes a batch"
        else:
            new, how = f"lambda example: {name}(example)[0]", "returns a list"
        change = Change(given.value.lineno, f"formatting_func: {name} for one example", WHY.format(how=how))
        yield Mend([Splice(*script.text.span(given.value), new)], [change])


def _returns_list(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether every return gives a list: a literal, a comprehension, or a name that was made as one."""
    lists = {
        one.targets[0].id
        for one in ast.walk(function)
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and _list(one.value)
    }
    returns = [one.value for one in ast.walk(function) if isinstance(one, ast.Return) and one.value is not None]
    return bool(returns) and all(_list(one) or (isinstance(one, ast.Name) and one.id in lists) for one in returns)


def _list(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.ListComp)


def _loops(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether the function goes through its argument: a loop or comprehension whose range names it."""
    parameter = function.args.args[0].arg
    ranges = [one.iter for one in ast.walk(function) if isinstance(one, ast.For | ast.comprehension)]
    return any(isinstance(one, ast.Name) and one.id == parameter for each in ranges for one in ast.walk(each))
