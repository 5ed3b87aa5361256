"""Run a command of bin/ with the checkout's own .venv, from any folder and through any link.

Each bin/NAME begins with `import _start`, before any other import. Python older than ours may read this file and
the commands first (the `python3` of the PATH), so both keep to syntax that Python 3.8 can read.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
# Passed as `-X` to the second start: a .venv that is broken in such a way that it does not become
# sys.prefix would otherwise be started again for ever. The environment of our children stays clean.
STARTED = "mailroom_started"


def start() -> None:
    """Put the checkout on sys.path; replace this process when it is not the .venv's Python; exit 2 without one."""
    if ROOT not in sys.path:
        sys.path.insert(1, ROOT)
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    python = os.path.join(VENV, "bin", "python")
    if not os.access(python, os.X_OK):
        stop("there is no .venv; run 'make install'")
    if os.path.exists(os.path.join(VENV, "unfinished")):
        stop("the installation was interrupted; run 'make install' again")
    if STARTED in sys._xoptions:
        stop("the .venv does not work; remove it and run 'make install'")
    os.execv(python, [python, "-X", STARTED, *sys.argv])


def stop(what: str) -> None:
    """Say in one line why this command cannot start, and exit 2."""
    sys.stderr.write("bin/" + os.path.basename(sys.argv[0]) + ": " + what + "\n")
    raise SystemExit(2)


start()
