"""Read what only a module's source text says: remarks beside constants, error messages, and an outline.

Works on syntax trees of files that are installed here; nothing is imported or run.
"""

from __future__ import annotations

import ast
import functools
import io
import os
import tokenize

MIN_WORDS = 4  # of an error message; shorter ones say nothing that can be asked for


def comments(file: str) -> dict[str, str]:
    """Return the comment that stands on the same line as a module-level assignment, by name."""
    tree = parsed(file)
    rows = {}
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.lineno == node.end_lineno:
            rows[node.lineno] = node.targets[0].id
    found: dict[str, str] = {}
    if not tree:
        return found
    try:
        for token in tokenize.generate_tokens(io.StringIO(read(file)).readline):
            if token.type == tokenize.COMMENT and token.start[0] in rows:
                found[rows[token.start[0]]] = token.string.lstrip("#<! ").strip()
    except (tokenize.TokenError, SyntaxError):
        return {}
    return found


def raised(file: str) -> list[list[str]]:
    """Return [function, exception, message] of each `raise X("a message in words")`, in source order."""
    out: list[list[str]] = []

    def visit(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            inside = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}" if where else child.name
            if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call) and child.exc.args and where:
                error, message = ast.unparse(child.exc.func), worded(child.exc.args[0])
                row = [where, error, message]
                named = error.rpartition(".")[2][:1].isupper()  # not a variable that happens to hold a class
                if named and len(message.split()) >= MIN_WORDS and row not in out:
                    out.append(row)
            visit(child, inside)

    tree = parsed(file)
    if tree:
        visit(tree, "")
    return out


def worded(node: ast.expr) -> str:
    """Return a message expression as text, with `{name}` where a value would be put in; empty if it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            worded(part) if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value) + "}"  # type: ignore[attr-defined]
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = worded(node.left), worded(node.right)
        return left + right if left and right else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return worded(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return worded(node.func.value)
    return ""


def read(file: str) -> str:
    """Return the text of a Python file."""
    with tokenize.open(file) as stream:
        return stream.read()


@functools.lru_cache(maxsize=4)  # a file is asked for twice in a row, and a tree takes up to 30 MB
def parsed(file: str) -> ast.Module | None:
    """Return the syntax tree of a Python file, None if it cannot be parsed."""
    try:
        return ast.parse(read(file))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def outline(file: str, follow: bool = True) -> list[tuple[str, str]]:
    """Return (name, first line of its docstring) of a module's public functions and classes, the module itself first.

    With `follow`, what an `__init__.py` takes over from a module of its own package is listed too.
    """
    tree = parsed(file)
    if tree is None:
        return []
    rows = [("", first_line(tree))]
    for node in statements(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            rows.append((node.name, first_line(node)))
        elif follow and isinstance(node, ast.ImportFrom) and os.path.basename(file) == "__init__.py":
            rows += taken(file, node)
    return rows


def statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return a module's statements with those under `if`, `else`, `try` and `except` in their places."""
    out = []
    for node in body:
        inner = [getattr(node, part, []) for part in ("body", "handlers", "orelse", "finalbody")]
        if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            out += statements([one for part in inner for one in part])
        else:
            out.append(node)
    return out


def taken(file: str, node: ast.ImportFrom) -> list[tuple[str, str]]:
    """Return the outline of what `from .part import names` takes from a file beside this one."""
    part = (node.module or "").rpartition(".")[2]
    beside = os.path.join(os.path.dirname(file), f"{part}.py")
    if not part or not os.path.isfile(beside):
        return []
    names = {alias.name for alias in node.names}
    return [row for row in outline(beside, follow=False) if row[0] in names or "*" in names]


def first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the first paragraph of a docstring on one line."""
    doc = ast.get_docstring(node) or ""
    return " ".join(doc.partition("\n\n")[0].split())[:400]
