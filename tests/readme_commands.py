"""Make the README's table of commands from their own --help texts: `make docs`."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- commands: made by make docs -->\n", "<!-- end of commands -->\n"
MOST_OPTIONS = 8  # past these a row of the table is not read by anybody; --help lists them
OPTION = re.compile(r"^  (?:-\w, )?(--[\w-]+)(?: ([A-Z]+(?: [A-Z]+)*|\[[^\]]+\]))?(?: |$)", re.MULTILINE)


def commands() -> list[str]:
    """Names of the commands of bin/, sorted."""
    return sorted(path.name for path in (ROOT / "bin").iterdir() if path.is_file() and "." not in path.name)


def help_text(name: str) -> str:
    """What `bin/NAME --help` prints on a wide terminal; raises CalledProcessError when it does not exit 0."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    command = [str(ROOT / "bin" / name), "--help"]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout


def row(name: str, text: str) -> str:
    """One row of the table: the usage with its options written out, and the first paragraph."""
    usage, rest = text.split("\n\n", 1)
    arguments = " ".join(usage.split()).partition("[OPTIONS]")[2].strip()
    found = [match for match in OPTION.findall(rest.partition("Options:\n")[2]) if match[0] != "--help"]
    options = " ".join(f"[{option} {value}]" if value else f"[{option}]" for option, value in found)
    if len(found) > MOST_OPTIONS:
        options = "[OPTIONS]"
    line = " ".join(part for part in (f"bin/{name}", arguments, options) if part)
    what = " ".join(rest.split("\n\n", 1)[0].split())
    cells = (f"`{line}`", what)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def table() -> str:
    """The whole table, as it stands between the README's marks."""
    return (
        "\n| command | what it does |\n|---|---|\n" + "".join(row(name, help_text(name)) for name in commands()) + "\n"
    )


def written(readme: str) -> str:
    """The README with its table made anew; raises ValueError where a mark is missing."""
    before, mark, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"README.md: no table of commands; put in the lines {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
