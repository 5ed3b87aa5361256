"""The kernel's lock on an open file, an open-file-description lock or else `flock`; it ends with its last holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct

from bus import files

# File systems that lack these locks. ENOLCK (no room for one, no server of locks) is raised instead: it may pass, and
# as the two kinds of lock do not exclude each other, a `flock` meanwhile would let two hold the same.
_NO_OFD = (errno.EINVAL, errno.EOPNOTSUPP)
_FLOCK = "hhqqi0q"  # struct flock of 64-bit Linux
_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # the last is l_pid, which must be 0


def take(descriptor: int) -> bool:
    """Take the lock of an open, writable file without waiting; False if another holds it. Children may be given it."""
    try:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except OSError as error:
            if error.errno not in _NO_OFD:
                raise
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except (BlockingIOError, PermissionError):  # the second is how POSIX may say it
        return False


def is_held(path: str | os.PathLike[str], dir_fd: int | None = None) -> bool:
    """True if some process holds the file's lock; the lock is tested, not taken. A missing file is not locked."""
    try:
        descriptor = os.open(path, files.READ, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        return bool(struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE))[0] != fcntl.F_UNLCK)
    except OSError as error:
        if error.errno in files.GONE:
            return False
        if error.errno not in _NO_OFD:
            raise
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # it cannot be tested: taken for an instant
            return False
        return True
    finally:
        os.close(descriptor)
