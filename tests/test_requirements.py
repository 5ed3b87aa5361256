"""requirements.txt: exact, complete for what the code imports, and closed under what those packages need."""

import ast
import re
import sys
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
OURS = {"agents", "bus", "training", "tests", "benchmarks"}


def pins(*names: str) -> dict[str, str]:
    """{distribution: version} of the requirement files; raises ValueError for a line that pins no exact version."""
    found = {}
    for name in names:
        for line in (ROOT / name).read_text().splitlines():
            if wanted := line.partition("#")[0].strip():
                match = re.fullmatch(r"([\w.-]+)==([\w.+!-]+)", wanted)
                if not match:
                    raise ValueError(f"{name}: {line!r} pins no exact version; write name==version")
                found[canonical(match[1])] = match[2]
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def imported(rooms: tuple[str, ...]) -> frozenset[str]:
    """Top-level modules that the code of these folders imports anywhere, without the standard library's and ours."""
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in (".py", "")]
    found = set()
    for path in (path for path in files if path.is_file()):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    places = (path for room in ("bin", "tests") for path in (ROOT / room).iterdir())
    local = {path.stem for path in places if path.suffix or path.is_dir()}  # bin/mcp is no module
    return frozenset(found - sys.stdlib_module_names - OURS - local)


def distributions(modules: frozenset[str]) -> set[str]:
    """The distributions that hold these modules; a module that is not installed stands for itself."""
    holders = metadata.packages_distributions()
    return {canonical(holders.get(module, [module])[0]) for module in modules}


def needs(name: str) -> set[str]:
    """What an installed distribution needs here, without its extras."""
    listed = [Requirement(text) for text in metadata.requires(name) or []]
    return {canonical(need.name) for need in listed if not need.marker or need.marker.evaluate({"extra": ""})}


def test_everything_the_program_imports_is_pinned() -> None:
    rooms = ("bus", "agents", "training", "bin", "benchmarks")
    assert distributions(imported(rooms)) - pins("requirements.txt").keys() == set()


def test_everything_the_tests_import_is_pinned() -> None:
    assert distributions(imported(("tests",))) - pins("requirements.txt", "requirements-dev.txt").keys() == set()


@pytest.mark.parametrize(
    "files",
    [
        ("requirements.txt",),
        ("requirements.txt", "requirements-dev.txt"),
        pytest.param(
            ("requirements.txt", "requirements-serve.txt"),
            marks=pytest.mark.skipif(not find_spec("openai"), reason="make serve-check installs it"),
        ),
    ],
)
def test_pins_are_closed(files: tuple[str, ...]) -> None:
    """An unpinned need would be another version tomorrow; torch's CUDA parts are its own, at exact versions."""
    pinned = pins(*files)
    missing = {f"{need}, of {name}" for name in pinned for need in needs(name) if need not in pinned}
    assert {need for need in missing if not re.match(r"(nvidia|cuda|triton)", need)} == set()


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {name: metadata.version(name).partition("+")[0] for name in pins("requirements.txt")}
    assert installed == pins("requirements.txt")
