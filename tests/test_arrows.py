"""Who may import whom, where torch may be imported, and what each agent says that it reads and writes."""

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from agents import _config
from tests.processes import ROOT, run

ROOMS = ("agents", "bin", "bus", "training")
MAY_IMPORT = {  # of `training` only the light parts: a test below finds no torch after importing everything else
    "bus": (),
    "training": (),
    "agents": ("bus", "training"),
    "bin": ("bus", "agents", "training"),
}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"}
MAX_BUS_LINES = 1500  # in all, as `wc -l` counts: docstrings, comments and blank lines are read, too
MAX_BUS_FILE = 350  # lines of one of its files


def sources(room: str) -> list[Path]:
    """The Python files of a room; the commands of bin/ have no suffix."""
    found = [path for path in (ROOT / room).rglob("*") if path.is_file() and path.suffix in ("", ".py")]
    return sorted(path for path in found if "__pycache__" not in path.parts)


FILES = [(room, path) for room in ROOMS for path in sources(room)]
each_file = pytest.mark.parametrize(("room", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _, path in FILES])


def imports(tree: ast.AST, where: Path) -> Iterator[tuple[ast.AST, str]]:
    """(node, dotted name) of every import, relative ones resolved, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([where.parent.name, base]).strip(".")
            yield from ((node, f"{base}.{one.name}") for one in node.names)


def room_of(name: str) -> str:
    first = name.partition(".")[0]
    return first if first in ROOMS else "bin" if (ROOT / "bin" / f"{first}.py").exists() else ""


@each_file
def test_arrows(room: str, path: Path) -> None:
    for node, name in imports(ast.parse(path.read_text("utf-8")), path):
        target = room_of(name)
        assert target in ("", room, *MAY_IMPORT[room]), (
            f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {room} must not import {name}"
        )


@each_file
def test_heavy_libraries_are_imported_inside_functions_of_training_alone(room: str, path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and room == "training"
        for child in ast.walk(node)
    }
    typing = {id(child) for node in ast.walk(tree) if type_checking(node) for child in ast.walk(node)}
    for node, name in imports(tree, path):
        if name.partition(".")[0] in HEAVY:
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            assert id(node) in inside | typing, f"{where}: {name} is imported outside a function of training/"


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


IMPORT_ALL = """
import importlib.machinery, importlib.util, json, sys
sys.path.insert(0, "bin")
before = set(sys.modules)
for name in json.loads(sys.argv[1]):
    loader = importlib.machinery.SourceFileLoader(name.replace("/", "."), name)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = sys.modules[loader.name] = importlib.util.module_from_spec(spec)
    if name.startswith(("bus/", "agents/")):
        importlib.import_module(name.removesuffix(".py").replace("/", "."))
    else:
        loader.exec_module(module)
print(json.dumps(sorted({one.partition(".")[0] for one in sys.modules})))
"""


def test_importing_bus_agents_and_bin_whole_prints_nothing_and_finds_no_torch() -> None:
    names = [str(path.relative_to(ROOT)) for room, path in FILES if room != "training"]
    ended = run("-c", IMPORT_ALL, json.dumps(names), cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    loaded = set(json.loads(ended.stdout))  # one line: importing printed nothing else
    assert ended.stderr == ""
    assert {"bus", "agents"} <= loaded and not loaded & HEAVY


@each_file
def test_broad_excepts(room: str, path: Path) -> None:
    found = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ExceptHandler) and catches_all(node)
    ]
    expected = 1 if path == ROOT / "agents" / "_agent.py" else 0
    assert len(found) == expected, f"{path.relative_to(ROOT)}: broad excepts in lines {found}"


def catches_all(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or bool(re.search(r"\b(Base)?Exception\b", ast.unparse(handler.type)))


@each_file
def test_no_shell(room: str, path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            assert ast.unparse(node.value) == "False", f"{path.relative_to(ROOT)}:{node.value.lineno}: a shell"


def test_the_bus_stays_small() -> None:
    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in sources("bus")}
    assert sum(lines.values()) < MAX_BUS_LINES and max(lines.values()) <= MAX_BUS_FILE, lines


def test_no_file_is_named_like_a_dependency_or_a_drawer() -> None:
    listed = (ROOT / "requirements.txt").read_text("utf-8")
    dependencies = {name.lower().replace("-", "_") for name in re.findall(r"^[\w-]+", listed, re.MULTILINE)}
    names = {path.stem for room, path in FILES if path.suffix}  # `import` finds no file without: bin/mcp hides nothing
    assert "torch" in dependencies and not names & (dependencies | {"utils", "helpers", "manager", "common", "misc"})


# -- what each agent says of itself -------------------------------------------------------------------------

CONFIG = _config.load()
STEPS = {entry["agent"]: entry for entry in CONFIG.flow.values() if "agent" in entry}
AGENTS = sorted(path.stem for path in (ROOT / "agents").glob("[!_]*.py"))


def told(agent: str, word: str) -> set[str]:
    """The names that an agent's docstring lists under `Reads` or `Writes`: the first of each line of that block."""
    doc = ast.get_docstring(ast.parse((ROOT / "agents" / f"{agent}.py").read_text("utf-8"))) or ""
    block = re.search(rf"^{word}\s+(.*(?:\n[ \t]+\S.*)*)", doc, re.MULTILINE)
    return {line.split()[0] for line in block[1].splitlines()} if block else set()


def test_every_agent_serves_a_mailbox_and_every_entry_has_its_agent() -> None:
    assert set(AGENTS) == set(STEPS) | {entry["agent"] for entry in CONFIG.services.values()}


@pytest.mark.parametrize("agent", sorted(STEPS))
def test_docstring_says_what_it_reads_and_writes(agent: str) -> None:
    """Each name of the flow stands in the docstring, and the other way round; a `*` on either side covers."""
    for word in ("Reads", "Writes"):
        listed = set(STEPS[agent].get(word.lower(), ()))
        said = told(agent, word)
        assert said, f"agents/{agent}.py: its docstring has no {word}"
        missing = {one for one in listed if not any(covers(other, one) for other in said)}
        strange = {one for one in said if not any(covers(other, one) for other in listed)}
        assert not missing, f"agents/{agent}.py: {word} does not name {sorted(missing)}"
        assert not strange, f"agents/{agent}.py: {word} names {sorted(strange)}, which config/swarm.yaml does not"


def covers(one: str, other: str) -> bool:
    return fnmatchcase(one, other) or fnmatchcase(other, one) or {f"{one}/*", f"{other}/*"} & {one, other} != set()
