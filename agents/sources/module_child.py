"""Print what importable modules document, as JSON: the child process behind `pydoc:` sources.

    echo '{"modules": ["gc"], "errors": []}' | env -i python -I agents/sources/module_child.py

Standard input   {"modules": [name…], "errors": [name…]}: modules to describe, modules whose exception classes to list
Standard output  one JSON line per answer, {"name", "file", "files", "doc", "objects", "constants"}, then one for the
                 error classes, {"name": "", "objects"}

Importing a module runs its code, so this runs alone, with an empty environment, and it imports nothing of ours. What
goes wrong in there is a traceback on standard error. But for `files`, which is for the parent alone, every text is
the same on every machine with the same packages: no addresses, no paths, no unknown reprs.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import os
import re
import signal
import sys
from types import ModuleType
from typing import Any

SECONDS = 120  # an import that takes longer than this is hung; the parent waits a little longer, and says so
MAX_OBJECTS = 800  # torch.distributed has 200; past this a module is a namespace dump, not documentation
MAX_DOC = 30_000  # characters of one docstring; the longest in torch is 18,000
MAX_CONSTANTS = 2_000  # pynvml has 1,900
MAX_VALUE = 80  # characters of a constant or default; longer ones are data, not facts
MAX_METHODS = 150  # documented methods of one class; torch's tensor types have 270 each, all of them the same

KINDS = {classmethod: "class method", staticmethod: "static method", property: "property"}
ADDRESS = re.compile(r"<[^<>]*? at 0x[0-9a-fA-F]+[^<>]*>|\b0x[0-9a-f]{8,}\b")
CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(_[A-Za-z0-9]+)+|[A-Z][A-Z0-9]+|nvml[A-Z]\w+")


def describe(name: str) -> dict[str, Any]:
    """Import one module and return its documentation as plain data."""
    module = importlib.import_module(name)
    documented = members(module)
    shown: set[int] = set()
    objects = []
    for key, value in documented[:MAX_OBJECTS]:
        if id(value) not in shown:  # an alias is the same object under a second name
            shown.add(id(value))
            objects.append(one_object(f"{name}.{key}", value))
    files = sorted({file for file in [source_file(module)] + [source_file(v) for _, v in documented] if file})
    return {
        "file": source_file(module),
        "files": [file for file in files if belongs(file, module)],
        "doc": text(module.__doc__),
        "objects": objects,
        "constants": constants(module),
    }


def describe_errors(names: list[str]) -> list[dict[str, Any]]:
    """Return the public exception classes of these modules, each once, under its shortest public name."""
    found: dict[int, tuple[str, type]] = {}
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:  # a build without it (no NCCL, no RPC) simply has fewer error classes
            continue
        for key, value in sorted(vars(module).items()):
            if not key.startswith("_") and inspect.isclass(value) and issubclass(value, BaseException):
                known = found.get(id(value))
                title = f"{name}.{key}"
                if value.__module__ != "builtins" and (not known or len(title) < len(known[0])):
                    found[id(value)] = (title, value)
    return [one_object(title, value) for title, value in sorted(found.values(), key=lambda pair: pair[0])]


def members(module: ModuleType) -> list[tuple[str, Any]]:
    """Return (name, object) of the public functions and classes that this module is the home of, sorted by name."""
    listed = getattr(module, "__all__", None)
    names = sorted(set(listed)) if listed else sorted(n for n in vars(module) if not n.startswith("_"))
    out = []
    for name in names:
        value = getattr(module, name, None)
        if (inspect.isclass(value) or callable(value)) and (listed or at_home(value, module.__name__)):
            out.append((name, value))
    return out


def at_home(value: Any, module: str) -> bool:
    """Say whether an object without an `__all__` to list it was defined in, or under, this module or its C half."""
    home = getattr(value, "__module__", None)
    if not isinstance(home, str):
        return inspect.isbuiltin(value)
    if home == module or home.startswith(module + ".") or home == "_" + module:
        return True
    parts = home.split(".")  # torch._C._distributed_c10d is the C half of torch.distributed
    return parts[0] == module.split(".")[0] and len(parts) > 2 and parts[1].startswith("_")


def one_object(title: str, value: Any) -> dict[str, Any]:
    """Describe a function or a class with its public methods."""
    if not inspect.isclass(value):
        return {"title": title, "kind": "function", **head(title, value), "methods": []}
    error = issubclass(value, BaseException)
    bases = [base for base in value.__mro__[1:] if base not in (object, BaseException)]
    entry = {
        "title": title,
        "kind": "enum" if issubclass(value, enum.Enum) else "exception" if error else "class",
        **head(title, value),
        "bases": [
            class_name(base)
            for base in (bases if error else value.__bases__)
            if base is not object and base.__module__ != "pybind11_builtins"
        ],
        "members": [],
        "methods": methods(title, value),
    }
    if issubclass(value, enum.Enum):
        entry["members"] = [[key, plain(item.value)] for key, item in value.__members__.items()]
    return entry


def methods(title: str, value: type) -> list[dict[str, Any]]:
    """Describe the documented public methods that a class itself defines."""
    out = []
    for key in sorted(vars(value)):
        raw = vars(value)[key]
        inner = raw.__func__ if isinstance(raw, (classmethod, staticmethod)) else raw
        documented = isinstance(getattr(inner, "__doc__", None), str)
        if key.startswith("_") or not documented or not (callable(inner) or isinstance(raw, property)):
            continue
        kind = next((label for cls, label in KINDS.items() if isinstance(raw, cls)), "method")
        if not inspect.isclass(inner):
            out.append({"title": f"{title}.{key}", "kind": kind, **head(f"{title}.{key}", inner)})
    return out if len(out) <= MAX_METHODS else []


def head(title: str, value: Any) -> dict[str, Any]:
    """Return the signature, the defaults by parameter and the docstring of one object."""
    doc = text(inspect.getdoc(value) if not inspect.isclass(value) else own_doc(value))
    signature, defaults = "", dict[str, str]()
    if not isinstance(value, property):
        signature, defaults = signed(title, value)
    first, _, rest = doc.lstrip("\n").partition("\n")
    stated = re.fullmatch(r"(\w+)(\(.*\)(?: -> .*)?)", first.strip())
    if stated and stated[1] == title.rpartition(".")[2]:  # pybind11 and C put the signature into the docstring
        signature = signature or scrub(title + re.sub(r"\bself(: [\w.]+)?(, )?", "", stated[2]))
        doc = inspect.cleandoc(rest)
    return {"signature": signature[:600], "defaults": defaults, "doc": doc}


def own_doc(value: type) -> str | None:
    """Return a class's own docstring, with its constructor's when that is documented apart; never an inherited one."""
    doc = vars(value).get("__doc__")
    doc = inspect.cleandoc(doc) if isinstance(doc, str) else ""
    if re.match(rf"{value.__name__}\([\w, :=|.\[\]]*\)$", doc):  # what dataclass and namedtuple write by themselves
        doc = ""
    init = vars(value).get("__init__")
    apart = inspect.cleandoc(init.__doc__) if inspect.isfunction(init) and init.__doc__ else ""
    return "\n\n".join(part for part in (doc, apart) if part)


def signed(title: str, value: Any) -> tuple[str, dict[str, str]]:
    """Return a one-line signature and the default of each parameter that has one; empty where Python cannot tell."""
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):  # many C functions have none
        return "", {}
    parameters: list[inspect.Parameter] = []
    defaults: dict[str, str] = {}
    for name, parameter in signature.parameters.items():
        if name == "self":
            continue
        if parameter.default is not parameter.empty:
            shown = plain(parameter.default) or "..."
            if shown != "...":
                defaults[name] = shown
            parameter = parameter.replace(default=Verbatim(shown))
        parameters.append(parameter.replace(annotation=noted(parameter.annotation)))
    returns = noted(signature.return_annotation)
    signature = signature.replace(parameters=parameters, return_annotation=returns)
    return scrub(title + str(signature)), defaults


class Verbatim:
    """A text whose repr is itself, so that inspect prints it unquoted."""

    def __init__(self, shown: str):
        self.shown = shown

    def __repr__(self) -> str:
        return self.shown


def noted(annotation: Any) -> Any:
    """Return an annotation that prints without module noise."""
    if annotation is inspect.Signature.empty:
        return annotation
    shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return Verbatim(scrub(re.sub(r"\b(typing|collections\.abc|typing_extensions|types)\.", "", shown)))


def plain(value: Any) -> str:
    """Return a value's text if it is the same on every machine, else an empty text."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)[:MAX_VALUE]
    if isinstance(value, (str, bytes)):
        shown = repr(value)
        is_path = value[:1] in ("/", b"/") and value not in ("/", "/dev/null")
        return "" if is_path or len(shown) > MAX_VALUE or "`" in shown else shown
    if isinstance(value, (tuple, list)) and len(value) < 8:
        inner = [plain(item) for item in value]
        return "" if "" in inner else str(type(value)(Verbatim(item) for item in inner))[:MAX_VALUE]
    return class_name(value) if inspect.isclass(value) else ""


def constants(module: ModuleType) -> list[list[str]]:
    """Return [name, value] of the module's public constants, sorted by name."""
    listed = set(getattr(module, "__all__", ()))
    out = []
    for name in sorted(vars(module)):
        value = vars(module)[name]
        if not CONSTANT.fullmatch(name) or inspect.isclass(value) or (listed and name not in listed):
            continue
        shown = value.value if isinstance(value, enum.Enum) else value
        if isinstance(shown, (int, float, str)) and (known := plain(shown)):
            out.append([name, known])
    return out[:MAX_CONSTANTS]


def belongs(file: str, module: ModuleType) -> bool:
    """Say whether a source file is the module's own, or lies in its package's folder."""
    own = source_file(module)
    if not own:
        return False
    return file == own or (hasattr(module, "__path__") and os.path.dirname(file) == os.path.dirname(own))


def source_file(value: Any) -> str | None:
    """Return the Python file an object comes from, None for C."""
    try:
        return inspect.getsourcefile(value)
    except TypeError:
        return None


def class_name(value: type) -> str:
    """Return a class's name as a user would write it."""
    return value.__qualname__ if value.__module__ == "builtins" else f"{value.__module__}.{value.__qualname__}"


def scrub(shown: str) -> str:
    """Return a text on one line without memory addresses."""
    return re.sub(r"\s+", " ", ADDRESS.sub("...", shown)).strip()


def text(doc: Any) -> str:
    """Return a docstring as a text without memory addresses, at most MAX_DOC long."""
    return ADDRESS.sub("...", inspect.cleandoc(doc))[:MAX_DOC] if isinstance(doc, str) else ""


def run() -> int:
    """Read what is asked from standard input and write the answers to the real standard output."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)  # also the end of a child whose agent was killed
    asked = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an import prints is not an answer
    for name in asked["modules"]:
        print(json.dumps({"name": name, **describe(name)}), file=out, flush=True)
    if asked["errors"]:
        print(json.dumps({"name": "", "objects": describe_errors(asked["errors"])}), file=out, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
