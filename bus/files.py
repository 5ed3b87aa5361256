"""Bytes on disk, whole or not at all; hashes; locks.

Every file that another process may read appears by one call, `link` where the name must be new and
`rename` where replacing is meant, after its bytes were written and, where asked, fsynced. Names are
given relative to an open folder, so that a folder that is swapped for a link leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_DOCUMENT = 64 * 1024 * 1024  # bytes; a JSON document past this is a mistake or an attack, artifacts may be larger
HASH_BLOCK = 1 << 20  # bytes read at a time when hashing: large enough for a disk, small enough for a 35 MB agent
DRAFT = ".draft-"  # hidden names are never read; leftovers are swept when a run starts
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_OFD = (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP)  # file systems that lack these locks
_FLOCK = "hhqqi0q"  # struct flock of 64-bit Linux


class BadFile(Exception):
    """A file that must not be read: not regular, a link, too large. The text names the file and the rule."""


def canonical(document: Any) -> bytes:
    """The one byte form of a JSON document: UTF-8, keys in their own order, no NaN, one final newline."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def pretty(document: Any) -> bytes:
    """JSON for files that people read: indented by two."""
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def readable(document: Any) -> Any:
    """A JSON document with a mark for what is no text: a message may quote a file's name of any bytes."""
    return json.loads(pretty(document).decode("utf-8", "replace"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The sha256 of a regular file, read without following a final link; raises BadFile or OSError."""
    digest = hashlib.sha256()
    with open(open_regular(path), "rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT, dir_fd: int | None = None) -> bytes:
    """A regular file's bytes; links, FIFOs, devices, files over `limit` bytes raise BadFile without waiting."""
    with open(open_regular(path, dir_fd), "rb", buffering=0) as file:
        return read_open(file.fileno(), limit, os.fspath(path))


def read_open(descriptor: int, limit: int, name: str) -> bytes:
    """All bytes of an open file from its start, by `pread`: descriptors that share an offset do not disturb it."""
    if (size := os.fstat(descriptor).st_size) > limit:
        raise BadFile(f"{name}: {size:,} bytes, more than the {limit:,} that a document may have")
    blocks, offset = [], 0
    while block := os.pread(descriptor, min(limit + 1 - offset, HASH_BLOCK), offset):
        blocks.append(block)
        offset += len(block)
        if offset > limit:
            raise BadFile(f"{name}: grew past {limit:,} bytes while it was read")
    return b"".join(blocks)


def open_regular(path: str | os.PathLike[str], dir_fd: int | None = None) -> int:
    """A descriptor of a regular file, for reading; links, FIFOs and devices raise BadFile and are not waited on."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadFile(f"{os.fspath(path)}: is a symbolic link; links are not followed") from None
        if error.errno == errno.ENXIO:  # a socket
            raise BadFile(f"{os.fspath(path)}: is not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadFile(f"{os.fspath(path)}: is not a regular file")
    return descriptor


def read_json(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT) -> Any:
    """A JSON document; raises BadFile where the bytes are not JSON, FileNotFoundError where there is no file."""
    return parse(read_bytes(path, limit), os.fspath(path))


def parse(data: bytes, name: str) -> Any:
    """The JSON document in `data`; raises BadFile for bad bytes, NaN and numbers that no float can hold."""
    try:
        return json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name}: not JSON: {error}") from None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a number of JSON")
    return number


def exists(name: str, folder_fd: int) -> bool:
    """True if an open folder has this name, be it a link that leads nowhere."""
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextlib.contextmanager
def open_folder(path: str | os.PathLike[str]) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def fsync_folder(path: str | os.PathLike[str]) -> None:
    with open_folder(path) as descriptor:
        os.fsync(descriptor)


def publish(folder_fd: int, name: str, data: bytes, durable: bool = True) -> None:
    """Make `name` appear in an open folder, whole; FileExistsError if the name is taken.

    The draft has no name (`O_TMPFILE`) or, where the file system has none, a hidden one.
    """
    try:
        draft = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        publish_named(folder_fd, name, data, durable)
    else:
        try:
            _fill(draft, data, durable)
            os.link(f"/proc/self/fd/{draft}", name, dst_dir_fd=folder_fd, follow_symlinks=True)
        finally:
            os.close(draft)
    if durable:
        os.fsync(folder_fd)


def publish_named(folder_fd: int, name: str, data: bytes, durable: bool = True) -> None:
    """`publish` by a hidden draft; the folder is not fsynced."""
    hidden = f"{DRAFT}{os.getpid()}-{os.urandom(6).hex()}"
    _write_new(folder_fd, hidden, data, durable)
    try:
        os.link(hidden, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    finally:
        os.unlink(hidden, dir_fd=folder_fd)


def _write_new(folder_fd: int, name: str, data: bytes, durable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder_fd)
    try:
        _fill(descriptor, data, durable)
    except OSError:
        os.unlink(name, dir_fd=folder_fd)
        raise
    finally:
        os.close(descriptor)


def _fill(descriptor: int, data: bytes, durable: bool) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    if durable:
        os.fsync(descriptor)


def publish_path(path: Path, data: bytes, durable: bool = True) -> bool:
    """`publish` by path; True if the file is new, False if it was there with the same bytes, else FileExistsError."""
    with open_folder(path.parent) as folder_fd:
        try:
            publish(folder_fd, path.name, data, durable)
            return True
        except FileExistsError:
            with contextlib.suppress(BadFile):  # longer, or no regular file: it is not the same
                if read_bytes(path.name, len(data), folder_fd) == data:
                    if durable:
                        os.fsync(folder_fd)
                    return False
            raise


def replace(path: Path, data: bytes, durable: bool = False) -> None:
    """Replace a file that has ONE writer (`status.json`): readers see the old bytes or the new, never a mixture."""
    with open_folder(path.parent) as folder_fd:
        hidden = f"{DRAFT}{path.name}"  # one fixed name: a killed writer leaves at most one draft
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=folder_fd)
        _write_new(folder_fd, hidden, data, durable)
        os.rename(hidden, path.name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        if durable:
            os.fsync(folder_fd)


def sync_tree(folder: Path) -> None:
    """fsync every file and every folder below `folder`, deepest first, and `folder` itself."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(open_regular(os.path.join(parent, name)), "rb", buffering=0) as file:
                os.fsync(file.fileno())
        fsync_folder(parent)


def sweep(folder: Path) -> None:
    """Remove hidden drafts that a killed writer left; only when a run starts, when nobody writes."""
    for entry in os.scandir(folder):
        if entry.name.startswith(DRAFT):
            with contextlib.suppress(FileNotFoundError):  # its writer lives, and has just published it
                os.unlink(entry.path)


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, as far as that goes; links are removed, not followed."""
    shutil.rmtree(folder, ignore_errors=True)  # a child that ends just now may still write there


def is_full(error: BaseException) -> bool:
    """True if an error, or one that it came from, says that the disk or the quota is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    before = error.__cause__ or error.__context__
    return before is not None and is_full(before)


def inside(name: str) -> str:
    """`name` as a relative path that cannot leave its folder; raises BadFile for `..`, absolute and odd names."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or not name.isprintable():
        raise BadFile(f"{name!r}: not a plain name inside the folder")
    return name


def _flock_struct(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)  # l_pid must be 0


def lock(descriptor: int) -> bool:
    """Take the kernel lock of an open, writable file without waiting; False if another holds it.

    An open-file-description lock: it belongs to the open file, passes to a child with the descriptor, and
    ends when its last holder closes or dies. `flock`, which has the same life, where there is none.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock_struct(fcntl.F_WRLCK))
        return True
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if isinstance(error, OSError) and error.errno not in _NO_OFD:
            raise
    return _flock(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def is_locked(path: str | os.PathLike[str], dir_fd: int | None = None) -> bool:
    """True if some process holds the file's lock; the lock is tested, not taken. A missing file is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock_struct(fcntl.F_WRLCK))
        return struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK
    except (AttributeError, OSError):
        return not _flock(descriptor)  # flock cannot be tested: it is taken for an instant
    finally:
        os.close(descriptor)
