"""What a call of the script calls: a library's callable, and the keywords that it is given, wherever they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agents.mending.installed import LIBRARIES, Installed
from agents.mending.kinds import kind_of, local_base
from agents.mending.script import Script

UNKNOWN = "?"  # the receiver of a method that nobody can tell the class of


@dataclass(frozen=True)
class Given:
    """One keyword of a call: in the call itself, or in the dict that the call unpacks, or set in that dict later."""

    name: str
    value: ast.expr
    node: ast.keyword | ast.expr  # what is renamed: the keyword, or the key of a dict
    holder: ast.Call | ast.Dict | ast.Assign


@dataclass
class Target:
    """A call and what is known of its callable."""

    call: ast.Call
    dotted: str  # `?.method` where the receiver is unknown
    answer: dict[str, Any]
    given: list[Given]
    whole: bool  # every keyword is known: no `**` that could not be followed
    extra: frozenset[str] = field(default_factory=frozenset)  # what a class of the script accepts in addition
    own: bool = False  # the callable is a class of the script

    @property
    def kin(self) -> list[str]:
        """Return the names under which a table may know the callable."""
        return [self.dotted, *self.answer.get("is", [])]

    @property
    def closed(self) -> bool:
        """Say whether an unknown keyword is certain to be refused."""
        return self.answer.get("parameters") is not None and not self.answer.get("open", True)

    def accepts(self, name: str) -> bool:
        parameters = self.answer.get("parameters")
        return parameters is None or name in parameters or name in self.extra

    def has(self, name: str) -> Given | None:
        return next((one for one in self.given if one.name == name), None)


def targets(script: Script, installed: Installed) -> Iterator[Target]:
    """Yield every call of a library's callable, and of a class of the script that inherits from one."""
    for call in script.calls():
        found = _named(script, call)
        if found is None:
            continue
        dotted, extra, own = found
        answer = {} if dotted.startswith(UNKNOWN) else installed.ask(dotted)
        given, whole = _keywords(script, call)
        yield Target(call, dotted, answer, given, whole, extra, own)


def _named(script: Script, call: ast.Call) -> tuple[str, frozenset[str], bool] | None:
    """Return (dotted name, keywords that a class of the script adds, whether it is such a class)."""
    func = call.func
    if dotted := script.dotted(func):
        return dotted, frozenset(), False
    if isinstance(func, ast.Name):
        base = local_base(script, func.id)
        extra = _own_keywords(script, func.id)
        return (base, extra, True) if base and extra is not None else None
    if not isinstance(func, ast.Attribute):
        return None
    if _is_super(func.value):
        owner = next(script.enclosing(call, ast.ClassDef), None)
        base = local_base(script, owner.name) if isinstance(owner, ast.ClassDef) else None
        if base is None:
            return None
        return (base if func.attr == "__init__" else f"{base}.{func.attr}"), frozenset(), False
    root = func.value
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(root, ast.Name) and root.id in script.names and script.dotted(func) is None:
        return None  # what it was imported from is none of the libraries
    kind = kind_of(script, func.value)
    if kind and kind.partition(".")[0] in LIBRARIES:
        return f"{kind}.{func.attr}", frozenset(), False
    return f"{UNKNOWN}.{func.attr}", frozenset(), False


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _own_keywords(script: Script, name: str) -> frozenset[str] | None:
    """Return what the constructor of a class of the script adds to its base's; None where it passes nothing on."""
    found: set[str] = set()
    while name in script.classes:
        node = script.classes[name]
        head = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        if head is not None:
            if head.args.kwarg is None:
                return None
            found |= {one.arg for one in [*head.args.args, *head.args.kwonlyargs]}
        found |= {
            one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        name = next((base.id for base in node.bases if isinstance(base, ast.Name) and base.id in script.classes), "")
    return frozenset(found)


def _keywords(script: Script, call: ast.Call) -> tuple[list[Given], bool]:
    """Return the keywords of a call, those of dicts that it unpacks included, and whether that is all of them."""
    found: list[Given] = []
    whole = not any(isinstance(one, ast.Starred) for one in call.args)
    for one in call.keywords:
        if one.arg is not None:
            found.append(Given(one.arg, one.value, one, call))
            continue
        value = script.origin(one.value) if isinstance(one.value, ast.Name) else one.value
        unpacked = _entries(value)
        found += unpacked or []
        found += _set_later(script, one.value) if isinstance(one.value, ast.Name) else []
        whole = whole and unpacked is not None
    return found, whole


def _entries(value: ast.expr | None) -> list[Given] | None:
    """Return the entries of `{"a": 1}` or `dict(a=1)`; None where it is neither, or not all of its keys are plain."""
    if isinstance(value, ast.Dict):
        plain = all(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in value.keys)
        pairs = zip(value.keys, value.values, strict=True)
        return [Given(str(k.value), v, k, value) for k, v in pairs if isinstance(k, ast.Constant)] if plain else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict" and not value.args:
        named = [Given(one.arg, one.value, one, value) for one in value.keywords if one.arg]
        return named if len(named) == len(value.keywords) else None
    return None


def _set_later(script: Script, name: ast.Name) -> list[Given]:
    """Return what `name["key"] = value` puts into the dict before the call; not under an `if` that asks for the key."""
    found = []
    for node in ast.walk(script.scope(name)):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or node.lineno > name.lineno:
            continue
        where = node.targets[0]
        if isinstance(where, ast.Subscript) and isinstance(where.value, ast.Name) and where.value.id == name.id:
            key = where.slice
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and not _asked(script, node, key.value):
                found.append(Given(key.value, node.value, key, node))
    return found


def _asked(script: Script, node: ast.AST, key: str) -> bool:
    tests = [one.test for one in script.enclosing(node, ast.If) if isinstance(one, ast.If)]
    return any(isinstance(one, ast.Constant) and one.value == key for test in tests for one in ast.walk(test))
