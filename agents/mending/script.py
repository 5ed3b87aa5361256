"""A parsed script: what its names stand for, where they were bound, and what encloses what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property

from agents.mending.installed import LIBRARIES
from agents.mending.splice import Text

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
MAX_HOPS = 20  # names that stand for names: more than a person writes, and an end for two that name each other


class Script:
    """The syntax tree of a text with parents, imports and bindings; SyntaxError where the text is no Python."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.tree = ast.parse(text.data)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.classes = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)}
        self.functions = {
            node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @cached_property
    def names(self) -> dict[str, str]:
        """{name in the script: the dotted name that it was imported as}; star imports bind nothing here."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name.partition(".")[0]] = one.name if one.asname else one.name.split(".")[0]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names if one.name != "*"}
        return {name: dotted for name, dotted in found.items() if name not in self.classes}

    def imports(self) -> Iterator[tuple[ast.Import | ast.ImportFrom, ast.alias, str]]:
        """Yield (statement, alias, dotted name) of every import from a library that we ask about."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
                module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for one in node.names:
                    yield node, one, module.removesuffix(".") if one.name == "*" else f"{module}{one.name}"

    def calls(self) -> Iterator[ast.Call]:
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))

    def scope(self, node: ast.AST) -> Scope:
        """Return the function that a node stands in, or the module."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, FUNCTIONS):
                return node
        return self.tree

    def enclosing(self, node: ast.AST, kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[ast.AST]:
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, kind):
                yield node

    def dotted(self, node: ast.expr) -> str | None:
        """Return the library's dotted name that an expression stands for, by imports and simple aliases."""
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else None
        if not isinstance(node, ast.Name):
            return None
        if node.id in self.names:
            whole = self.names[node.id]
            return whole if whole.partition(".")[0] in LIBRARIES else None
        bound = self.origin(node)
        if isinstance(bound, ast.Name | ast.Attribute) and bound is not node and self._plain(bound):
            return self.dotted(bound)
        return None

    def _plain(self, node: ast.expr) -> bool:
        """Say whether an alias begins with an imported name, so that following it comes to an end."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.names

    @cached_property
    def bindings(self) -> dict[tuple[Scope, str], list[tuple[int, ast.expr | None]]]:
        """{(scope, name): [(line where it is bound, the value; None where it is no plain assignment)]}."""
        found: dict[tuple[Scope, str], list[tuple[int, ast.expr | None]]] = {}
        for node in ast.walk(self.tree):
            for name, line, value in _bound(node):
                scope = node if isinstance(node, FUNCTIONS) and value is None else self.scope(node)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and name == node.name:
                    scope = self.scope(node)
                found.setdefault((scope, name), []).append((line, value))
        return {key: sorted(values, key=lambda one: one[0]) for key, values in found.items()}

    def origin(self, name: ast.Name) -> ast.expr | None:
        """Return the value last assigned to a name before it is used here; None for a parameter or the unknown."""
        scope: Scope = self.scope(name)
        while True:
            if bound := self.bindings.get((scope, name.id)):
                inner = scope is self.scope(name)
                earlier = [value for line, value in bound if line < name.lineno or not inner]
                return earlier[-1] if earlier else None
            if isinstance(scope, ast.Module):
                return None
            scope = self.scope(scope)

    def is_parameter(self, name: ast.Name) -> bool:
        """Say whether a name here is what the enclosing function was called with."""
        bound = self.bindings.get((self.scope(name), name.id), [])
        earlier = [value for line, value in bound if line <= name.lineno]
        return bool(earlier) and earlier[-1] is None and not isinstance(self.scope(name), ast.Module)

    def uses(self, name: str) -> list[ast.Name]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id == name]


def _bound(node: ast.AST) -> Iterator[tuple[str, int, ast.expr | None]]:
    """Yield (name, line, value) of what a statement or a function's head binds."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.lineno, node.value
            elif isinstance(target, ast.Tuple | ast.List):
                yield from _unpacked(target, node.value, node.lineno)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.lineno, node.value
    elif isinstance(node, FUNCTIONS):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        yield from ((one.arg, node.lineno, None) for one in every if one)
        if not isinstance(node, ast.Lambda):
            yield node.name, node.lineno, None
    elif isinstance(node, ast.For | ast.comprehension):
        yield from (
            (one.id, getattr(node, "lineno", one.lineno), None)
            for one in ast.walk(node.target)
            if isinstance(one, ast.Name)
        )
    elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
        yield node.optional_vars.id, node.optional_vars.lineno, None


def _unpacked(target: ast.Tuple | ast.List, value: ast.expr, line: int) -> Iterator[tuple[str, int, ast.expr | None]]:
    """Yield what `a, b = x, y` binds; from one value (`a, b = call()`) each name is bound to the unknown."""
    pairs = value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) else None
    for place, one in enumerate(target.elts):
        if isinstance(one, ast.Name):
            yield one.id, line, pairs[place] if pairs else None
