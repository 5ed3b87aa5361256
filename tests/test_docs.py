"""The README and the commands' own help texts say the same, and what the README names exists."""

import re
from functools import cache

import pytest

import readme_commands
from readme_commands import README, ROOT, commands

MAX_LINES = 250  # a newcomer reads it in one sitting; longer tables live in benchmarks/RESULTS.md
# The checkout has no such file, and the README may name it: a run's own places, and what is made on the spot.
MADE = ("runs/", "models/", ".venv")

help_text = cache(readme_commands.help_text)


@cache
def readme() -> str:
    return README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", commands())
def test_help_has_an_example(name: str) -> None:
    text = help_text(name)
    assert text.startswith(f"Usage: {name} ")
    assert re.search(rf"bin/{name}\b", text), "its help shows no example of how to type it"


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_in_the_readme(name: str) -> None:
    assert readme_commands.row(name, help_text(name)) in readme(), "README.md is out of date; run `make docs`"


def test_the_table_has_no_other_commands() -> None:
    rows = re.findall(r"^\| `bin/([a-z]+)", readme(), re.MULTILINE)
    assert rows == commands()


def test_length() -> None:
    assert len(readme().splitlines()) <= MAX_LINES


def test_commands_and_targets_that_it_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?<![\w./])bin/([a-z]+)\b", readme())) <= set(commands())
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", readme(), re.MULTILINE)) <= targets


def test_files_that_it_links_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme()) if not link.startswith(MADE)]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_modules_and_configs_that_it_names_exist() -> None:
    named = set(re.findall(r"`((?:bus|agents|training|config|goals|schemas|benchmarks)/[\w./-]+\.\w+)`", readme()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_row_of_a_help_text() -> None:
    text = (
        "Usage: show [OPTIONS] RUN\n\n  Say what\n  it is.\n\n  More.\n\n"
        "Options:\n  -j, --json          As JSON.\n  --rounds INTEGER    How many.\n  --mode [a|b]  Which.\n"
        "  --help              Show this message and exit.\n"
    )
    assert readme_commands.row("show", text) == (
        "| `bin/show RUN [--json] [--rounds INTEGER] [--mode [a\\|b]]` | Say what it is. |\n"
    )


def test_writing_the_table_keeps_the_rest() -> None:
    before = f"# x\n{readme_commands.BEGIN}a stale row\n{readme_commands.END}## y\n"
    after = readme_commands.written(before)
    assert after.startswith(f"# x\n{readme_commands.BEGIN}") and after.endswith(f"{readme_commands.END}## y\n")
    assert "| `bin/skills [NAME]` |" in after and "a stale row" not in after
    with pytest.raises(ValueError, match="no table of commands"):
        readme_commands.written("# x\n")
