"""Say what the installed libraries accept: dotted names in, one JSON line for each out.

    echo '{"name": "transformers.TrainingArguments"}' | python -m training.signatures

One child answers many questions, because importing these libraries takes seconds and asking takes milliseconds.
Nothing but the library that a name begins with is imported, and nothing of it is called.
"""

import enum
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

# What a lazy import can raise when the thing, or something that it needs, is not there.
NOT_THERE = (ImportError, AttributeError, RuntimeError, ValueError, TypeError, KeyError, OSError)
CONFIG = re.compile(r"[\w.]*\w(?:Config|Arguments)\b")  # the class in an annotation like `SFTConfig | None`
SKIPPED = (
    "models"  # hundreds of model folders: what moves between modules moves elsewhere, and reading them takes seconds
)
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "CUDA_VISIBLE_DEVICES": "",
}  # asks nobody, holds no GPU


def answer(name: str) -> dict[str, Any]:
    """Return what is known of a dotted name: whether it exists, its kind, version and signature, or where it went."""
    root = name.partition(".")[0]
    told: dict[str, Any] = {"name": name, "library": root, "version": _version(root), "exists": False}
    if importlib.util.find_spec(root) is None:
        return told | {"missing": root}
    try:
        thing, owner = _resolve(name)
    except ModuleNotFoundError as error:
        return told | {"missing": error.name}
    if thing is _NOTHING:
        return told | {"found": sorted(set(_elsewhere(root, name.rpartition(".")[2])))}
    told |= {"exists": True, "is": _kin(thing, owner)}
    if isinstance(thing, ModuleType):
        return told | {"kind": "module"}
    if not callable(thing):
        return told | {"kind": "value"}
    kind = "class" if inspect.isclass(thing) else "function"
    return told | {"kind": kind} | _signature(thing, method=inspect.isclass(owner))


_NOTHING = object()


def _resolve(name: str) -> tuple[Any, Any]:
    """Return (the thing, what it was found in) by the longest prefix that is a module.

    Raises ModuleNotFoundError where a module needs a package that is not installed.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if error.name and error.name.partition(".")[0] != parts[0]:
                raise
            continue
        except NOT_THERE:
            continue
        owner: Any = None
        for part in parts[length:]:
            try:
                owner, thing = thing, getattr(thing, part)
            except NOT_THERE:
                return _NOTHING, None
        return thing, owner
    return _NOTHING, None


def _kin(thing: Any, owner: Any) -> list[str]:
    """Return the names under which a table may know it: its own, then those of the classes it inherits from."""
    if inspect.isclass(thing):
        return [_canon(one) for one in thing.__mro__ if one is not object]
    if inspect.isclass(owner):
        return [f"{_canon(one)}.{thing.__name__}" for one in owner.__mro__ if one is not object and _named(thing)]
    return [_canon(thing)] if _named(thing) else []


def _named(thing: Any) -> bool:
    return isinstance(getattr(thing, "__qualname__", None), str) and not isinstance(thing, ModuleType)


def _canon(thing: Any) -> str:
    """Return library.Name, whatever module it lives in: modules move more often than names."""
    return f"{(getattr(thing, '__module__', None) or '').partition('.')[0]}.{thing.__qualname__}"


def _signature(thing: Callable[..., Any], method: bool) -> dict[str, Any]:
    """Return what a callable takes; `parameters` ({name: default as source}) is null where Python cannot tell."""
    try:
        found = inspect.signature(thing)
    except (ValueError, TypeError):
        return {"parameters": None}
    listed = list(found.parameters.values())
    # A function that was looked up on its class still shows `self`; a class method does not.
    if method and inspect.isfunction(thing) and listed and listed[0].name == "self":
        listed = listed[1:]
    named = [one for one in listed if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    by_place = [one for one in named if one.kind is not one.KEYWORD_ONLY]
    return {
        "parameters": {one.name: _default(one) for one in named},
        "required": [one.name for one in named if one.default is one.empty],
        "positional": None if any(one.kind is one.VAR_POSITIONAL for one in listed) else [o.name for o in by_place],
        "open": any(one.kind is one.VAR_KEYWORD for one in listed),
        "configs": _configs(found.parameters.get("args"), thing),
        "aliases": dict(_aliases(thing)),
    }


def _default(one: inspect.Parameter) -> str | None:
    """Return the default as source text; null where it has none or none that can be written down."""
    value = one.default.value if isinstance(one.default, enum.Enum) else one.default
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else None


def _configs(args: inspect.Parameter | None, thing: Any) -> list[str]:
    """Return the names of the classes that a trainer takes as `args`, its own first: trl.SFTConfig, then its base."""
    root = (getattr(thing, "__module__", "") or "").partition(".")[0]
    found: dict[str, None] = {}
    for named in CONFIG.findall(str(args.annotation)) if args is not None else []:
        for public in (f"{library}.{named.rpartition('.')[2]}" for library in (root, named.partition(".")[0])):
            if public.count(".") == 1 and public not in found and _resolve(public)[0] is not _NOTHING:
                found[public] = None
    return sorted(found, key=lambda one: not one.startswith(f"{root}."))


def _aliases(thing: Any) -> Iterator[tuple[str, str]]:
    """Yield (old, new) of the keywords that a decorator still renames."""
    function = thing.__init__ if inspect.isclass(thing) else thing
    while hasattr(function, "__wrapped__"):
        code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
        held = dict(zip(code.co_freevars, (cell.cell_contents for cell in cells), strict=False)) if code else {}
        if isinstance(held.get("old_name"), str) and isinstance(held.get("new_name"), str):
            yield held["old_name"], held["new_name"]
        function = function.__wrapped__


def _elsewhere(root: str, name: str) -> Iterator[str]:
    """Yield the modules of a library whose source defines a name at its top level, without importing them."""
    spec = importlib.util.find_spec(root)
    if not name.isidentifier() or spec is None or not spec.submodule_search_locations:
        return
    folder = Path(next(iter(spec.submodule_search_locations)))
    defines = re.compile(rf"^(?:class|def) {name}\b|^{name}\s*(?::[^=\n]+)?=", re.MULTILINE)
    for path in folder.rglob("*.py"):
        inside = path.relative_to(folder).with_suffix("").parts
        if SKIPPED not in inside[:-1] and defines.search(path.read_text("utf-8", "replace")):
            yield ".".join([root, *(part for part in inside if part != "__init__")])


def _version(root: str) -> str | None:
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Answer each line of standard input until it ends."""
    os.environ.update(QUIET)
    # Some libraries print while they are imported: what they print goes to standard error.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        name = json.loads(line)["name"]
        whole = isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
        told = answer(name) if whole else {"name": name, "exists": False, "error": "not a dotted name"}
        print(json.dumps(told), file=out, flush=True)


if __name__ == "__main__":
    main()
