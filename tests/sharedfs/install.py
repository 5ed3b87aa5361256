"""The packages of the file systems, by apt-get: what is missing is named before it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tests.sharedfs.filesystem import FileSystem

COMMON = {"ip": "iproute2", "unshare": "util-linux", "setpriv": "util-linux", "umount": "mount"}
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it whether a package may start its services; 101 is no
ENVIRONMENT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def install(chosen: Sequence[type[FileSystem]]) -> dict[type[FileSystem], str]:
    """Install what the chosen file systems lack; returns those that cannot be tried, and why."""
    packages = sorted({name for fs in chosen for name in lacking(fs)})
    by_hand = f"apt-get install --no-install-recommends {' '.join(packages)}" if packages else "nothing to install"
    if os.geteuid():
        click.echo(f"make sharedfs: only root may mount; run it as root ({by_hand})", err=True)
        return dict.fromkeys(chosen, "only root may mount")
    if not packages:
        return {}
    if not shutil.which("apt-get"):
        click.echo(f"make sharedfs: no apt-get here to install what is missing; on Debian: {by_hand}", err=True)
    else:
        click.echo(f"make sharedfs: installing {' '.join(packages)}; they stay, and no service of theirs is started")
        with _no_service_is_started():
            if _apt("install", "--no-install-recommends", *packages):  # perhaps the lists are old
                _apt("update")
                if text := _apt("install", "--no-install-recommends", *packages):
                    click.echo(f"make sharedfs: apt-get: {text}; by hand: {by_hand}", err=True)
    return {fs: f"needs {' '.join(names)}" for fs in chosen if (names := lacking(fs))}


def lacking(fs: type[FileSystem]) -> list[str]:
    """The packages to install for one file system: its own if any program of theirs is missing."""
    common = [package for program, package in COMMON.items() if not shutil.which(program)]
    return common + ([] if all(shutil.which(one) for one in fs.programs) else list(fs.packages))


def _apt(*words: str) -> str:
    """Run apt-get; "" if all went well, else the last line that it said."""
    done = subprocess.run(["apt-get", "-q", "-y", *words], env=ENVIRONMENT, capture_output=True, text=True)
    return (done.stderr or done.stdout).strip().rpartition("\n")[2] if done.returncode else ""


@contextlib.contextmanager
def _no_service_is_started() -> Iterator[None]:
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def version(package: str) -> str:
    """The version of an installed package, without Debian's own part; "" where dpkg does not know it."""
    with contextlib.suppress(OSError):
        command = ["dpkg-query", "-W", "-f", "${Version}", package]
        return subprocess.run(command, capture_output=True, text=True).stdout.partition("-")[0]
    return ""
