"""Splices that rename, replace, remove and add one keyword of a call or one entry of a dict."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from agents.mending.script import Script
from agents.mending.splice import Splice, Text, without_all
from agents.mending.targets import Given, Target

CONSTANTS = (ast.Constant, ast.UnaryOp)


def source(script: Script, value: ast.expr) -> str:
    """Return an expression as it is written, in parentheses where it spans lines and has none of its own."""
    written = script.text.of(value)
    whole = isinstance(value, ast.Call | ast.List | ast.Dict | ast.Tuple | ast.Subscript | ast.Set)
    return f"({written})" if "\n" in written and not whole else written


def constant(value: ast.expr) -> str | None:
    """Return a plain value as source; None for anything that is computed."""
    try:
        return repr(ast.literal_eval(value)) if isinstance(value, CONSTANTS) else None
    except ValueError:
        return None


def _spans(text: Text, holder: ast.Call | ast.Dict) -> list[tuple[int, int]]:
    if isinstance(holder, ast.Call):
        return sorted(text.span(one) for one in [*holder.args, *holder.keywords])
    pairs = zip(holder.keys, holder.values, strict=True)
    return [(text.span(key)[0] if key else text.span(value)[0], text.span(value)[1]) for key, value in pairs]


def remove(script: Script, *every: Given) -> list[Splice]:
    """Return the splices that take keywords out of the calls and dicts that hold them."""
    text = script.text
    splices = [Splice(*text.span(one.holder), "pass") for one in every if isinstance(one.holder, ast.Assign)]
    holders = {one.holder for one in every}
    for holder in holders:
        if not isinstance(holder, ast.Assign):
            spans = _spans(text, holder)
            starts = {text.span(one.node)[0] for one in every if one.holder is holder}
            splices += without_all(text, spans, {place for place, span in enumerate(spans) if span[0] in starts})
    return splices


def rename(script: Script, given: Given, new: str) -> Splice:
    start, end = script.text.span(given.node)
    if isinstance(given.node, ast.keyword):
        return Splice(start, start + len(given.name.encode()), new)
    quote = script.text.data[start : start + 1].decode()
    return Splice(start, end, f"{quote}{new}{quote}" if quote in "'\"" else repr(new))


def replace(script: Script, given: Given, name: str, value: str) -> list[Splice]:
    """Return the splices that make a keyword `name=value`, its place kept."""
    if isinstance(given.node, ast.keyword):
        return [Splice(*script.text.span(given.node), f"{name}={value}")]
    return [rename(script, given, name), Splice(*script.text.span(given.value), value)]


def add(script: Script, holder: ast.Call | ast.Dict, pairs: dict[str, str], gone: Iterable[Given] = ()) -> Splice:
    """Return the splice that adds keywords, written as the call's others are: one a line, or in one line.

    They go before the last keyword that is not `gone`: its comma and comment, or lack of them, stay as they are.
    """
    text = script.text
    starts = {text.span(one.node)[0] for one in gone}
    spans = [one for one in _spans(text, holder) if one[0] not in starts]
    written = [
        f"{key}={value}" if isinstance(holder, ast.Call) else f'"{key}": {value}' for key, value in pairs.items()
    ]
    if not spans:
        end = text.span(holder)[1] - 1
        return Splice(end, end, ", ".join(written))
    start, end = spans[-1]
    between = f",\n{text.indent(start)}" if text.begins_line(start) and len(spans) > 1 else ", "
    last_by_place = isinstance(holder, ast.Call) and start not in {text.span(one)[0] for one in holder.keywords}
    if last_by_place:
        return Splice(end, end, "".join(f"{between}{one}" for one in written))
    return Splice(start, start, "".join(f"{one}{between}" for one in written))


def by_place(target: Target, name: str) -> ast.expr | None:
    """Return the value that a parameter is given by its position."""
    order = target.answer.get("positional") or []
    place = order.index(name) if name in order else -1
    return target.call.args[place] if 0 <= place < len(target.call.args) else None
