"""The servers, from npm and PyPI, into a folder that goes when they were tried: they are no part of the project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

NPM = tuple(f"@modelcontextprotocol/{name}" for name in ("server-filesystem", "server-memory", "server-everything"))
PYPI = ("mcp-server-fetch", "mcp-server-git")
LIMIT_S = 600  # for one download of some 50 MB, over whatever line


def install(folder: Path) -> dict[str, str]:
    """Install all; returns {package: why it cannot be tried} of those that are not there."""
    missing: dict[str, str] = {}
    if not shutil.which("npm"):
        missing |= dict.fromkeys(NPM, "no npm here; on Debian: apt install npm")
    elif why := _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *NPM]):
        missing |= dict.fromkeys(NPM, why)
    if why := _run([sys.executable, "-m", "venv", str(folder)]) or _run([str(folder / "bin/pip"), "install", *PYPI]):
        missing |= dict.fromkeys(PYPI, why)
    return missing


def version(folder: Path, package: str) -> str:
    """The version of an installed package; "" where there is none."""
    if package.startswith("@"):
        about = folder / "node_modules" / package / "package.json"
        return str(json.loads(about.read_text())["version"]) if about.exists() else ""
    found = next(folder.glob(f"lib/*/site-packages/{package.replace('-', '_')}-*.dist-info"), None)
    return found.name.removesuffix(".dist-info").rpartition("-")[2] if found else ""


def node(folder: Path, package: str) -> list[str]:
    """The words that start an npm server."""
    return ["node", str(folder / "node_modules" / package / "dist" / "index.js")]


def _run(command: list[str]) -> str:
    """Run a program to its end; "" if all went well, else the last line that it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
    return said.splitlines()[-1] if done.returncode else ""
