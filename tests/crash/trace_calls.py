"""The system calls that touch files: their numbers on two machines, and which arguments are descriptors and paths."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

# name: number on x86_64, number on aarch64 (-: it has none), kinds of the first arguments:
# f a descriptor, d a folder's descriptor that the next path starts from, p a path, . anything else
_TABLE = """
read 0 63 f             write 1 64 f            open 2 - p              close 3 57 f            stat 4 - p
fstat 5 80 f            lstat 6 - p             ioctl 16 29 f           pread64 17 67 f         pwrite64 18 68 f
readv 19 65 f           writev 20 66 f          access 21 - p           dup 32 23 f             dup2 33 - ff
sendfile 40 71 ff       fcntl 72 25 f           flock 73 32 f           fsync 74 82 f           fdatasync 75 83 f
truncate 76 45 p        ftruncate 77 46 f       rename 82 - pp          mkdir 83 - p            rmdir 84 - p
creat 85 - p            link 86 - pp            unlink 87 - p           symlink 88 - .p         readlink 89 - p
chmod 90 - p            fchmod 91 52 f          chown 92 - p            fchown 93 55 f          statfs 137 43 p
fstatfs 138 44 f        sync 162 81 -           getdents64 217 61 f     openat 257 56 dp        mkdirat 258 34 dp
mknodat 259 33 dp       fchownat 260 54 dp      newfstatat 262 79 dp    unlinkat 263 35 dp      renameat 264 38 dpdp
linkat 265 37 dpdp      symlinkat 266 36 .dp    readlinkat 267 78 dp    fchmodat 268 53 dp      faccessat 269 48 dp
sync_file_range 277 84 f utimensat 280 88 dp    fallocate 285 47 f      dup3 292 24 ff          preadv 295 69 f
pwritev 296 70 f        syncfs 306 267 f        renameat2 316 276 dpdp  copy_file_range 326 285 f.f statx 332 291 dp
openat2 437 437 dp      faccessat2 439 439 dp   fchmodat2 452 452 dp
"""

MACHINE = platform.machine()
OPENS = frozenset("open creat openat openat2".split())
WRITES = frozenset({"write", "pwrite64"})  # the ones whose bytes lie in one piece, and whose count can be shortened
# What makes a descriptor, and what changes something on the disk: these may fail with EMFILE, and with EROFS.
CHANGES = WRITES | frozenset(
    "writev pwritev ftruncate truncate fallocate rename renameat renameat2 mkdir mkdirat rmdir creat link linkat "
    "unlink unlinkat symlink symlinkat chmod fchmod fchmodat fchmodat2 chown fchown fchownat mknodat utimensat "
    "copy_file_range sendfile".split()
)
FLAGS = {"open": 1, "openat": 2}  # which argument of an opening says what for
SYNCS = frozenset("fsync fdatasync syncfs sync sync_file_range".split())


@dataclass(frozen=True)
class Kind:
    """One system call that touches files: its name and the kinds of its first arguments."""

    name: str
    kinds: str


def _read(column: int) -> dict[int, Kind]:
    words = _TABLE.split()
    rows = [words[at : at + 4] for at in range(0, len(words), 4)]
    return {int(row[column]): Kind(row[0], row[3]) for row in rows if row[column] != "-"}


BY_NUMBER = {"x86_64": _read(1), "aarch64": _read(2)}.get(MACHINE, {})


def changes(name: str, arguments: tuple[int, ...]) -> bool:
    """True if such a call may change a file system: it fails on one that is mounted read-only."""
    if name in FLAGS:
        return bool(arguments[FLAGS[name]] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY))
    return name in CHANGES
