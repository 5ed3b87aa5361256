"""Every command of bin/ runs with the checkout's own .venv, from any folder, through any link, under any python3."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = sorted(path for path in (ROOT / "bin").iterdir() if path.is_file() and path.suffix in ("", ".py"))
OTHER_PYTHON = os.path.realpath(sys.executable)  # the one that .venv was made from; outside, sys.prefix is another
SCRIPT = """#!/usr/bin/env python3
import _start
import os, sys
import click
print(os.path.realpath(sys.prefix), _start.ROOT in sys.path, sys.argv[1:], sorted(sys._xoptions))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one command, bin/show, that prints how it was started."""
    folder = tmp_path / "a checkout"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/_start.py").write_bytes((ROOT / "bin/_start.py").read_bytes())
    (folder / "bin/show").write_text(SCRIPT)
    return folder


def show(command: Path, *arguments: str, python: str = OTHER_PYTHON, cwd: Path | None = None):
    return subprocess.run([python, str(command), *arguments], cwd=cwd, capture_output=True, text=True, timeout=30)


def test_starts_again_with_the_venv(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    shown = show(checkout / "bin/show", "a b", "--x=*", cwd=tmp_path)
    assert shown.stdout == f"{ROOT / '.venv'} True ['a b', '--x=*'] ['mailroom_started']\n", shown.stderr


def test_stays_when_it_is_the_venv_already(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    shown = show(checkout / "bin/show", python=str(ROOT / ".venv/bin/python"))
    assert shown.stdout == f"{ROOT / '.venv'} True [] []\n", shown.stderr


def test_through_a_link_and_a_relative_name(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "elsewhere").symlink_to(checkout / "bin/show")
    shown = show(Path("elsewhere"), cwd=tmp_path)
    assert shown.stdout.startswith(f"{ROOT / '.venv'} True"), shown.stderr


def test_without_a_venv_one_line_and_2(checkout: Path) -> None:
    shown = show(checkout / "bin/show")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "bin/show: there is no .venv; run 'make install'\n"


def test_after_an_interrupted_installation_one_line_and_2(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(OTHER_PYTHON)
    (checkout / ".venv/unfinished").touch()
    shown = show(checkout / "bin/show")
    assert (shown.returncode, shown.stderr) == (
        2,
        "bin/show: the installation was interrupted; run 'make install' again\n",
    )


def test_a_broken_venv_is_not_started_for_ever(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(OTHER_PYTHON)  # no pyvenv.cfg, so it is no .venv
    shown = show(checkout / "bin/show")
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert "remove it and run 'make install'" in shown.stderr


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_an_older_python_can_read_it(path: Path) -> None:
    """The python3 of the PATH compiles a command before _start can hand it to ours."""
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", [path for path in COMMANDS if not path.suffix], ids=lambda path: path.name)
def test_a_command_starts_as_agreed(path: Path) -> None:
    assert path.read_text().startswith("#!/usr/bin/env python3\n") and os.access(path, os.X_OK)
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = next(node for node in imports if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"))
    assert isinstance(first, ast.Import) and [name.name for name in first.names] == ["_start"]
