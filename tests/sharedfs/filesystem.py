"""A shared file system with two clients, `A` and `B`, that stand for two machines."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ADDRESS = "192.0.2.1"  # documentation only (RFC 5737), here on `lo`: MooseFS and Gluster refuse 127.0.0.1
PATIENCE_S = 30.0  # how long a server or a mount may take to come up; it takes one or two
HOSTS = ("A", "B")


class NotTried(Exception):
    """A file system that cannot be had here; one line says why."""


class FileSystem:
    """One column of the table: its servers and its two mounts, all below `folder`.

    It lives in namespaces of its own, which end with the trial, and all of its processes and mounts with them.
    """

    name = ""  # as an argument of the command
    title = ""  # as a column of the table
    how = ""  # and how it is mounted or laid out
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()  # what the packages must have brought
    stale_s = 0.0  # how long a client may show an old list of names

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.clients: dict[str, subprocess.Popen[bytes]] = {}
        self.log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def serve(self) -> None:
        """Start the servers."""
        raise NotImplementedError

    def client(self, point: Path) -> Sequence[str]:
        """The command that mounts at `point` and stays in the foreground."""
        raise NotImplementedError

    def backing(self) -> list[Path]:
        """The folders in which the servers keep the files as files, if they do."""
        return []

    def clear_view(self) -> Path:
        """Where no cache hides anything for long: the server's own folder if there is one, else a client's."""
        backing = self.backing()
        return backing[0] if len(backing) == 1 else self.folder / "B"

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a server or a client; what it says goes to the log."""
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.processes.append(process)
        return process

    def call(self, *argv: str) -> None:
        """Run a command to its end; NotTried if it fails."""
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise NotTried(f"{argv[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")

    def mount(self, host: str) -> Path:
        """Mount for one host, and wait until a file can be written there."""
        point = self.folder / host
        point.mkdir(exist_ok=True)
        self.clients[host] = self.start(*self.client(point))
        self.until(lambda: os.path.ismount(point) and _writable(point), f"no mount at {host}")
        return point

    def kill_client(self, host: str) -> None:
        """Kill the process behind a mount: every call there fails from now on."""
        self.clients[host].kill()
        self.clients[host].wait()

    def forget_client(self, host: str) -> str:
        """Where a dead client keeps its locks: what an administrator does about that, done; the command, or ""."""
        return ""

    def mount_again(self, host: str) -> None:
        """Replace a dead mount by a fresh one."""
        self.forget_client(host)
        self.call("umount", "-l", str(self.folder / host))
        self.mount(host)

    def listening(self, port: int) -> None:
        """Wait until a server answers at ADDRESS:port."""
        self.until(lambda: _answers(port), f"nothing listens on port {port}")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise NotTried(f"{what} after {PATIENCE_S:.0f} s; its log ends: {self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        return " / ".join((self.folder / "log.txt").read_text("utf-8", "replace").splitlines()[-3:])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port), 1.0):
        return True
    return False


def _writable(point: Path) -> bool:
    probe = point / f".writable-{os.getpid()}"
    try:
        probe.write_bytes(b"yes")
        return probe.read_bytes() == b"yes"
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def own_network() -> None:
    """Bring up the loopback of this network namespace, with ADDRESS on it."""
    for command in (("link", "set", "lo", "up"), ("addr", "add", f"{ADDRESS}/32", "dev", "lo")):
        subprocess.run(["ip", *command], check=True, stdout=sys.stderr)
