"""Say whether a source can exist on this machine, without importing, fetching or running it."""

from __future__ import annotations

import difflib
import importlib.machinery
import importlib.util
import pkgutil
import shutil
import subprocess
import sys
import urllib.parse
from importlib.machinery import ModuleSpec
from pathlib import Path

from agents._goal import CATALOGUES, PAGE, Goal, GoalError, split
from agents.sources.fetch import literal, public

ROOT = Path(__file__).resolve().parents[2]  # the checkout; file: and dir: are relative to it
MAN_SECONDS = 10  # `man -w` takes 5 ms; a page tree on a dead network mount would hang it
MAX_URL = 2_000  # characters; what servers commonly accept
NEEDS = {"nvml": "pynvml", "torch-errors": "torch"}  # what a catalogue is built from


def check_sources(goal: Goal, allowed_paths: list[Path], root: Path, where: str = "") -> None:
    """Raise GoalError for the first source that cannot exist on this machine; imports and fetches nothing."""
    for spec in goal.sources:
        kind, target = split(spec, where or goal.name)
        trouble = missing(kind, target, allowed_paths, root)
        if trouble:
            raise GoalError(f"{where or goal.name}: sources: {spec}: {trouble}")


def missing(kind: str, target: str, allowed: list[Path], root: Path = ROOT) -> str:
    """Return why a source cannot be read, as `what; what to do`; an empty text when it can."""
    if kind == "pydoc":
        return missing_module(target, root)
    if kind == "catalogue":
        return missing_module(NEEDS[target], root) if target in NEEDS and target in CATALOGUES else ""
    if kind == "man":
        return missing_page(target)
    if kind == "url":
        return refused_url(target)
    return missing_path(kind, target, allowed, root)


def missing_module(name: str, root: Path) -> str:
    """Look for a module's file. Its parents are not imported: importing torch to find torch.cuda takes two seconds."""
    spec = module_spec(name)
    if spec is None:
        near = difflib.get_close_matches(name, siblings(name), n=1, cutoff=0.7)
        return f"there is no such module here; {f'did you mean {near[0]}?' if near else 'install it or leave it out'}"
    origin = Path(spec.origin or "/")
    if origin.is_relative_to(root) and "site-packages" not in origin.parts:  # .venv lies in the checkout too
        return "is part of this checkout, which the reading process cannot import; use file: or dir:"
    return ""


def module_spec(name: str) -> ModuleSpec | None:
    """Return where a module would be imported from; None if nowhere."""
    if name in sys.modules and sys.modules[name].__spec__:  # os.path, and whatever else is no file of its parent's
        return sys.modules[name].__spec__
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)  # a top-level name: finds, and imports nothing
    except (ValueError, ImportError):
        return None
    path = top
    for part in rest:
        places = spec.submodule_search_locations if spec else None
        if not places:
            return None
        path = f"{path}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(path, list(places))
    return spec


def siblings(name: str) -> list[str]:
    """Return the names of the modules beside the one that is not there."""
    parent = name.rpartition(".")[0]
    if not parent:
        return sorted({module.name for module in pkgutil.iter_modules()} | set(sys.stdlib_module_names))
    spec = module_spec(parent)
    if spec is None:
        return [
            f"{near}.{name.rpartition('.')[2]}" for near in difflib.get_close_matches(parent, siblings(parent), n=1)
        ]
    return sorted(f"{parent}.{module.name}" for module in pkgutil.iter_modules(spec.submodule_search_locations or []))


def missing_path(kind: str, target: str, allowed: list[Path], root: Path) -> str:
    """Check that a file or folder is there and, with every link followed, lies where reading is allowed."""
    path = resolved(target, root)
    if path is None or not (path.is_dir() if kind == "dir" else path.is_file()):
        thing = "folder" if kind == "dir" else "file"
        return f"there is no such {thing}; paths are relative to the checkout, {root.name}/"
    if not any(path.is_relative_to(Path(place).resolve()) for place in allowed):
        return "lies outside the allowed paths; move it, or add its folder to allowed_paths in config/infra.yaml"
    return ""


def resolved(target: str, root: Path) -> Path | None:
    """Return a path with every link followed, None if that is not possible."""
    try:
        return (root / target).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name with a NUL byte
        return None


def page_command(target: str) -> list[str]:
    """Return the end of a `man` command line for `ls` or `open(2)`."""
    match = PAGE.fullmatch(target)
    assert match, target  # agents/_goal.py refused every other form
    return [*([match[2]] if match[2] else []), "--", match[1]]


def missing_page(target: str) -> str:
    """Ask `man` where the page is."""
    man = shutil.which("man")
    if not man:
        return "this machine has no `man`; install man-db or leave the page out"
    try:
        done = subprocess.run([man, "-w", *page_command(target)], capture_output=True, timeout=MAN_SECONDS)
    except subprocess.TimeoutExpired:
        return f"man -w gave no answer in {MAN_SECONDS} s; leave the page out"
    found = done.returncode == 0 and done.stdout.strip()
    return "" if found else "there is no such manual page here; install it or leave it out"


def refused_url(url: str) -> str:
    """Check a URL's form; the addresses behind its host are checked when it is fetched."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL; write it as https://host/page"
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL or not url.isprintable() or " " in url:
        return "is no URL that can be read; write it as https://host/page"
    if parts.username or parts.password:
        return "holds a name or a password; give a URL that needs none"
    if port == 0:
        return "has no port to connect to; leave the port out"
    address = literal(host)
    local = host in ("localhost", "localhost.") or host.rstrip(".").endswith((".localhost", ".local", ".internal"))
    if local or (address is None and "." not in host) or (address is not None and not public(address)):
        return "points at a private or local host; only public ones are read"
    return ""
