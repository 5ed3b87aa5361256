"""Another machine, as far as one kernel can play it: its own checkout at another path, another user, host name, process
space and monotonic clock, files of another day, and a wall clock that jumps while it works.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT

DAY_S = 86_400
NOBODY = 65534  # the user of no rights, everywhere
MAPPED = 4321  # any number that is not ours
ROOMS = ("bus", "agents", "bin", "training", "schemas", "skills", "config")
SERVE = "tests/crash/storm_serve.py"
# Loaded by every Python of that machine as it starts: the wall clock runs on, and jumps when the file appears.
CLOCK = """
import datetime, os, time
def jump():
    try:
        with open(os.environ["STORM_CLOCK"]) as file:
            return int(file.read() or 0)
    except (KeyError, OSError):
        return 0
now, now_ns, gmtime, localtime, strftime = time.time, time.time_ns, time.gmtime, time.localtime, time.strftime
time.time = lambda: now() + jump()
time.time_ns = lambda: now_ns() + jump() * 10**9
time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
time.localtime = lambda seconds=None: localtime(time.time() if seconds is None else seconds)
time.strftime = lambda form, when=None: strftime(form, time.localtime() if when is None else when)
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Jumping
"""


@dataclass(frozen=True)
class Disguise:
    """How one copy is finished: by which user, with clocks that are off by how many seconds.

    `other`: another user of this machine; `reader`: the same, who may read everything, where the interpreter lies in
    somebody's home; `mapped`: this user, under another number in a user namespace.
    """

    user: str
    monotonic_s: int = DAY_S
    files_s: int = 0
    jump_s: int = 0

    def owner(self) -> int:
        """The owner of its files, as this machine sees it."""
        return os.getuid() if self.user == "mapped" else NOBODY

    def argv(self, script: str) -> list[str]:
        """The command that runs a shell script so."""
        argv = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--time"]
        argv += [f"--monotonic={self.monotonic_s}", f"--boottime={self.monotonic_s}"]
        inside = ["sh", "-c", 'hostname other && exec "$@"', "sh"]
        if self.user == "mapped":
            argv += ["--user", f"--map-user={MAPPED}", "--keep-caps"]
        else:
            inside += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        if self.user == "reader":
            inside += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        return [*argv, *inside, "sh", "-ec", script]


def uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def users(folder: Path) -> tuple[list[str], str]:
    """Which users can be played here, with their own files in a folder; and why others cannot, in words, or ""."""
    found, why = [], []
    for user in ["other", "reader", "mapped"] if os.getuid() == 0 else ["mapped"]:
        if user == "reader" and "other" in found:
            continue
        try:
            script = f"cd {shlex.quote(str(folder))}; {shlex.quote(sys.executable)} -c pass"
            tried = subprocess.run(Disguise(user).argv(script), capture_output=True, text=True)
        except FileNotFoundError as error:
            return [], f"{error.filename} is not installed"
        if tried.returncode:
            why.append(f"{user}: {tried.stderr.strip().splitlines()[-1] if tried.stderr else tried.returncode}")
        else:
            found.append(user)
    if "reader" in found:
        why = why[1:]
    return found, "; ".join(why)


class Machine:
    """The checkout of the other machine; `home` is its folder, with a space in its path."""

    def __init__(self, home: Path) -> None:
        self.home, self.checkout = home, home / "another place"
        for room in ROOMS:
            shutil.copytree(ROOT / room, self.checkout / room)
        (self.checkout / SERVE).parent.mkdir(parents=True)
        shutil.copy(ROOT / SERVE, self.checkout / SERVE)
        (self.checkout / "sitecustomize.py").write_text(CLOCK)
        (self.checkout / ".venv").symlink_to(Path(sys.prefix))
        self.python = self.checkout / ".venv/bin/python"

    def run(self, disguise: Disguise, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a folder as in disguise; the wall clock jumps a moment after its beginning."""
        for parent, dirs, names in os.walk(folder):
            for name in [".", *dirs, *names]:
                os.chown(os.path.join(parent, name), disguise.owner(), -1)
        env = {**os.environ, "PYTHONPATH": str(self.checkout), "STORM_CLOCK": str(folder / "clock")}
        jump = f"(sleep 0.3; echo {disguise.jump_s} >clock) &\n"
        argv = disguise.argv(jump + script)
        return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
