"""Run a command in a pid namespace of its own: its /proc shows no one else; the rest of the machine is as it is.

    subprocess.run([*apart(), "some-command"], env=clean_environment())      unless why_not() says why not

For commands and MCP servers, which this machine's own config chose: they need the network and the files, but no look
into the processes beside them. (As root they could still change the machine itself; code of a model runs *closed*.)
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECK_S = 20.0  # for a check that takes 0.05 s, on a machine that may be busy
_START = "import sys; sys.path.append(sys.argv.pop(1)); from agents.sandbox.{module} import main; main(sys.argv[1:])"


def launched(module: str, *arguments: str) -> list[str]:
    """The words that start `main` of a module of this room with the standard library alone, whatever is in env."""
    root = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-I", "-S", "-c", _START.format(module=module), root, *arguments]


def apart(hide: Sequence[Path] = ()) -> list[str]:
    """The words that, put before a command's, run it apart; the files of `hide` read as empty there.

    See `why_not` first. The environment is what they are started with. All ends with the thread that started them.
    """
    hidden = [word for path in hide for word in ("--hide", str(path))]
    return launched("init", *hidden, "--")


def reaped() -> list[str]:
    """The words for where nothing runs apart: no namespace, but all that the command starts ends with it as well."""
    return launched("init", "--reap", "--")


@functools.cache
def why_not() -> str:
    """Why no command can run apart on this machine, in a line; "" where it can. Tried once in a process."""
    try:
        ended = subprocess.run([*apart(), "true"], env={}, capture_output=True, text=True, timeout=CHECK_S)
    except subprocess.TimeoutExpired:
        return f"no pid namespace of its own (not made within {CHECK_S:.0f} s); see the machine's load"
    return "" if not ended.returncode else (ended.stderr.strip() or f"exit {ended.returncode}").splitlines()[-1]
