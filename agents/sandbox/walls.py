"""The command lines that close a program in: what it is shown, what it may use, and what it is refused."""

from __future__ import annotations

import functools
import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.sandbox.apart import apart, launched, reaped, why_not

WORK = "/run/work"  # where bubblewrap shows the one folder; with Landlock it keeps its own path: use relative names
MB = 1024 * 1024
OPEN_FILES = 1024  # what programs expect to have
OURS = 2  # processes that are not the program's: bubblewrap outside and inside, or those of `apart`
# Of /etc a program needs only where libraries lie, which of several programs a name means, and the time zone.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")  # bubblewrap brings them itself
GPU_DEVICES = "/dev/nvidia*"
GPU_FACTS = ("/sys/bus", "/sys/class", "/sys/dev", "/sys/devices", "/sys/module")  # CUDA looks devices up there
NEEDED = ("--disable-userns", "--json-status-fd", "--size")  # bubblewrap 0.8


class Refused(Exception):
    """Code of a model was not run: `sandbox: why; what to do`, in one line."""


@dataclass(frozen=True)
class Limits:
    """What a closed run may use at most."""

    seconds: float = 60.0  # by the wall clock; then it is killed
    memory: int = 2048 * MB  # bytes; of all its processes where a control group can be made, else of each
    processes: int = 64  # threads count, too
    file_bytes: int = 256 * MB  # of one file
    output_bytes: int = 64 * 1024  # of stdout and stderr together: the last ones are kept


@dataclass(frozen=True)
class Program:
    """What is to run, where, and within what. `work` and `shown` are real paths; `env` is all of its environment."""

    argv: Sequence[str]
    work: Path
    limits: Limits
    shown: Sequence[Path]
    env: Mapping[str, str]
    gpu: bool
    grouped: bool  # a control group limits its memory and processes already


def bubblewrap(program: Program, tell: int) -> list[str]:
    """The command line of bubblewrap, which writes to the descriptor `tell` how the program ended.

    It must itself be started with an empty environment, since /proc/1 shows it inside, whatever --clearenv does.
    """
    words = [_found(), "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--new-session"]
    words += ["--die-with-parent", "--json-status-fd", str(tell), "--hostname", "closed", "--clearenv"]
    # Read-only, or root would write /proc/sys inside: core_pattern names a program that the machine runs as root.
    words += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", "/dev/shm"):  # their files are memory
        words += ["--size", str(program.limits.memory // 4), "--perms", "1777", "--tmpfs", folder]
    words += _shown(program)
    words += ["--remount-ro", "/dev", "--bind", str(program.work), WORK, "--remount-ro", "/", "--chdir", WORK]
    for name, value in program.env.items():
        words += ["--setenv", name, value]
    return [*words, "--", *_ulimits(program), *program.argv]


def _shown(program: Program) -> list[str]:
    """Everything that is there to be read; after /tmp is made, since a checkout may lie there."""
    words = []
    for path in _python_and_system():
        link = path in SYSTEM and os.path.islink(path)  # /bin is one to usr/bin; a .venv may be one to anywhere
        words += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]
    for path in (*SETTINGS, *(GPU_FACTS if program.gpu else ())):
        words += ["--ro-bind-try", path, path]
    for device in _devices(program):
        words += ["--dev-bind", device, device]
    for one in program.shown:
        words += ["--ro-bind", str(one), str(one)]
    return words


def _ulimits(program: Program) -> list[str]:
    """prlimit of util-linux, inside: there RLIMIT_NPROC counts this namespace alone, and bubblewrap has its memory."""
    return ["prlimit", *(f"--{name}={value}" for name, value in _resources(program).items()), "--"]


def _resources(program: Program) -> dict[str, int]:
    """{resource: its limit}, each named as prlimit names it."""
    found = {"core": 0, "fsize": program.limits.file_bytes, "nofile": OPEN_FILES}
    if not program.grouped:  # of each process; RLIMIT_NPROC does nothing for root, which the proof finds
        found |= {"as": program.limits.memory, "nproc": program.limits.processes + OURS}
    return found


def landlock(program: Program, tell: int) -> list[str]:
    """The command line that closes the program in with Landlock; apart, where that can be had, else with a reaper."""
    document = {
        "read": [
            *_python_and_system(),
            *SETTINGS,
            *(GPU_FACTS if program.gpu else ()),
            *(str(one) for one in program.shown),
        ],
        "write": str(program.work),
        "devices": [*DEVICES, *_devices(program)],
        "env": {"TMPDIR": str(program.work), **program.env},
        "limits": _resources(program),
        "tell": tell,
    }
    around = reaped() if why_not() else apart()  # or what it starts in a session of its own would outlive its limit
    return [*around, *launched("landlock", json.dumps(document), *program.argv)]


def _devices(program: Program) -> list[str]:
    return sorted(glob.glob(GPU_DEVICES)) if program.gpu else []


def _python_and_system() -> Iterator[str]:
    """The paths that running Python and the system's programs takes, each once."""
    yield from (one for one in SYSTEM if os.path.exists(one))
    python = sorted({os.path.abspath(sys.prefix), os.path.abspath(sys.base_prefix)})
    yield from (one for one in python if not one.startswith("/usr/") and one not in ("/", *SYSTEM))


def _found() -> str:
    """Where bubblewrap is; raises Refused."""
    path = shutil.which("bwrap")
    if not path:
        raise Refused(
            "sandbox: bubblewrap is not installed; install it (apt install bubblewrap), or choose `sandbox: landlock`,"
            " which holds less, in config/infra.yaml"
        )
    if missing := _missing(path):
        raise Refused(f"sandbox: {path} has no {missing}; install bubblewrap 0.8 or newer, or choose sandbox: landlock")
    return path


@functools.cache
def _missing(path: str) -> str:
    """The first option that we need and this bubblewrap does not have, or ""."""
    known = subprocess.run([path, "--help"], env={}, capture_output=True, text=True, check=False)
    return next((one for one in NEEDED if one not in known.stdout + known.stderr), "")
