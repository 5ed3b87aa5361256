"""Bytes on disk, whole or not at all; JSON documents; hashes.

What others may read appears by one call, `link` where the name must be new, `rename` where replacing is meant, once it
is written and fsynced. Names are relative to an open folder: one that is swapped for a link leads nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

MAX_REQUEST = 16 * 1024 * 1024  # bytes; larger input belongs in an artifact that the request names
MAX_DOCUMENT = 64 * 1024 * 1024  # bytes; a JSON document past this is a mistake or an attack, artifacts may be larger
HASH_BLOCK = 1 << 20  # bytes read at a time when hashing: large enough for a disk, small enough for a 35 MB agent
DRAFT = ".draft-"  # hidden names are never read; leftovers are swept when a run starts
BATCH = 500  # files open at once: 8% faster than 200 (measured), and half of the 1,024 that a process may have
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # how a folder is opened
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # how a file is opened: never waited on
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STRICT = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_LONG = b"0" * 19  # of so many digits an integer may be past 64 bits, which orjson reads as a float
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
GONE = (errno.ENOENT, errno.ESTALE)  # the second where another host removed it
# What opening a file says of what is none; the second of a socket.
NOT_REGULAR = {errno.ELOOP: "is a symbolic link; links are not followed", errno.ENXIO: "is not a regular file"}
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


class BadFile(Exception):
    """A file that must not be read: not regular, a link, too large, not JSON. The text names the file and the rule."""


def canonical(document: Any) -> bytes:
    """The one byte form of a JSON document: UTF-8, keys in their own order, no NaN, one final newline."""
    data = orjson.dumps(document, option=_STRICT)
    if b"null" in data and orjson.loads(data) != document:  # for NaN, too, which equals nothing
        json.dumps(document, allow_nan=False)
    return data


def pretty(document: Any) -> bytes:
    """JSON for files that people read: indented by two."""
    return (json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def readable(document: Any) -> Any:
    """A JSON document with a mark for what is no text: a message may quote a file's name of any bytes."""
    data = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return json.loads(data.decode("utf-8", "replace"))


def parse(data: bytes, name: str) -> Any:
    """The JSON document in `data`; raises BadFile for bytes that are not UTF-8, NaN, numbers that no float can hold."""
    try:
        document = orjson.loads(data)
        return json.loads(data) if _LONG in data.translate(_ZEROS) else document
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name}: not JSON: {error}") from None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The sha256 of a regular file, read without following a final link; raises BadFile or OSError."""
    with open(open_regular(path), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: str | os.PathLike[str], dir_fd: int | None = None) -> int:
    """A descriptor of a regular file, for reading; links, FIFOs and devices raise BadFile and are not waited on."""
    try:
        descriptor = os.open(path, READ, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in NOT_REGULAR:
            raise
        raise BadFile(f"{os.fspath(path)}: {NOT_REGULAR[error.errno]}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadFile(f"{os.fspath(path)}: is not a regular file")
    except (OSError, BadFile):
        os.close(descriptor)
        raise
    return descriptor


def fitting(data: bytes, limit: int, name: str) -> bytes:
    """`data` itself; raises BadFile where a document of that size could be read by nobody."""
    if len(data) > limit:
        raise BadFile(f"{name}: {len(data):,} bytes, more than the {limit:,} that a document may have")
    return data


def read_open(descriptor: int, size: int, limit: int, name: str) -> bytes:
    """All bytes of an open file that had `size` bytes, by `pread`: a shared offset is not disturbed."""
    if size > limit:
        raise BadFile(f"{name}: {size:,} bytes, more than the {limit:,} that a document may have")
    data = os.pread(descriptor, size + 1, 0)
    while len(data) != size and (more := os.pread(descriptor, HASH_BLOCK, len(data))):  # it grew, or a read was cut
        data += more
        if len(data) > limit:
            raise BadFile(f"{name}: grew past {limit:,} bytes while it was read")
    return data


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT, dir_fd: int | None = None) -> bytes:
    """A regular file's bytes; links, FIFOs, devices, files over `limit` bytes raise BadFile without waiting."""
    descriptor = open_regular(path, dir_fd)
    try:
        return read_open(descriptor, os.fstat(descriptor).st_size, limit, os.fspath(path))
    finally:
        os.close(descriptor)


def read_json(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT) -> Any:
    """A JSON document; raises BadFile where the bytes are not JSON, FileNotFoundError where there is no file."""
    return parse(read_bytes(path, limit), os.fspath(path))


def exists(name: str, folder_fd: int) -> bool:
    """True if an open folder has this name, be it a link that leads nowhere.

    A failing disk reads as False, so work may be done again; but the call that publishes refuses a second reply.
    """
    return os.access(name, os.F_OK, dir_fd=folder_fd, follow_symlinks=False)


def kind(name: str, folder_fd: int) -> str:
    """What a name in an open folder is: "file", "folder", "other" (such as a link), or "" where nothing is."""
    try:
        mode = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
        return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
    except FileNotFoundError:
        return ""


def names(folder_fd: int) -> list[str]:
    """What lies in an open folder; by a new descriptor each time, as sshfs lists each but once."""
    descriptor = os.open(".", FOLDER, dir_fd=folder_fd)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def publish(folder_fd: int, name: str, data: bytes, durable: bool = True) -> None:
    """Make `name` appear in an open folder, whole; FileExistsError if the name is taken."""
    if publish_many(folder_fd, [(name, data)], durable):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def publish_many(folder_fd: int, items: Sequence[tuple[str, bytes]], durable: bool = True) -> list[str]:
    """`publish` up to BATCH files at the price of two fsyncs; returns the names that were taken."""
    drafts: list[tuple[int, str]] = []
    taken, done, swept = [], 0, False
    while done < len(items):
        try:
            for _, data in items[done:]:
                drafts.append(_draft(folder_fd))
                _write(drafts[-1][0], data)
            if durable:
                _sync(drafts, folder_fd)
            for (name, _), draft in zip(items[done:], drafts, strict=True):
                taken += [] if _appear(draft, folder_fd, name) else [name]
                done += 1
        except FileNotFoundError:  # a hidden draft was swept, as a run was started just now: written once more
            if swept:
                raise
            swept = True
        finally:
            while drafts:
                _drop(drafts.pop(), folder_fd)
    if durable and len(taken) < len(items):
        os.fsync(folder_fd)
    return taken


def _draft(folder_fd: int) -> tuple[int, str]:
    """(descriptor, "") of a new file without a name or, where the file system has none, (descriptor, hidden name)."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=folder_fd), ""
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    hidden = f"{DRAFT}{os.getpid()}-{os.urandom(6).hex()}"
    return os.open(hidden, _NEW, 0o644, dir_fd=folder_fd), hidden


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _appear(draft: tuple[int, str], folder_fd: int, name: str) -> bool:
    """Give a draft its name; False if that is taken."""
    descriptor, hidden = draft
    source, source_fd = (hidden, folder_fd) if hidden else (f"/proc/self/fd/{descriptor}", None)
    try:
        os.link(source, name, src_dir_fd=source_fd, dst_dir_fd=folder_fd, follow_symlinks=not hidden)
        return True
    except OSError as error:
        if error.errno == errno.EEXIST or exists(name, folder_fd):  # sshfs says EPERM for it
            return False
        raise


def _drop(draft: tuple[int, str], folder_fd: int) -> None:
    with contextlib.suppress(OSError):  # after fsync, or without `durable`, it tells nothing
        os.close(draft[0])
    if draft[1]:
        with contextlib.suppress(OSError):  # it is swept when a run starts
            os.unlink(draft[1], dir_fd=folder_fd)


def _sync(drafts: list[tuple[int, str]], folder_fd: int) -> None:
    """fsync drafts: many by one syncfs where they are nameless; NFS and most of FUSE, which ignore it, have none."""
    if len(drafts) < 2 or drafts[0][1]:
        for descriptor, _ in drafts:
            os.fsync(descriptor)
    elif ctypes.CDLL(None, use_errno=True).syncfs(folder_fd):
        raise OSError(ctypes.get_errno(), f"syncfs: {os.strerror(ctypes.get_errno())}")


def replace(path: Path, data: bytes, durable: bool = False) -> None:
    """Replace a file that has ONE writer (`status.json`): readers see the old bytes or the new, never a mixture."""
    draft = path.with_name(f"{DRAFT}{path.name}")  # one fixed name: a killed writer leaves at most one draft
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, _NEW, 0o644)
    try:
        _write(descriptor, data)
        if durable:
            os.fsync(descriptor)
        os.rename(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    if durable:
        fsync(path.parent)


def make_folder(folder: Path, durable: bool) -> None:
    """Make a folder and, where they are missing, those above it; what is there stays."""
    with contextlib.suppress(FileExistsError):  # another may make it just now
        if not folder.parent.exists():
            make_folder(folder.parent, durable)
        folder.mkdir()
        if durable:
            fsync(folder.parent)


def fsync(path: str | os.PathLike[str], dir_fd: int | None = None) -> None:
    """Make a file's bytes, or a folder's names, durable."""
    descriptor = os.open(path, READ, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unreadable(error: OSError) -> None:
    """For `os.walk`: left alone, it passes over a folder that cannot be read in silence."""
    raise error


def sync_tree(folder: Path) -> None:
    """fsync every file and every folder below `folder`, deepest first, and `folder` itself."""
    for parent, _, names in os.walk(folder, topdown=False, onerror=unreadable):
        for name in [*names, "."]:
            fsync(os.path.join(parent, name))


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, as far as that goes; links are removed, not followed."""
    shutil.rmtree(folder, ignore_errors=True)  # a child that ends just now may still write there


def is_full(error: BaseException | None) -> bool:
    """True if an error, or one that it came from, says that the disk or the quota is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or (error is not None and is_full(error.__cause__ or error.__context__))


def inside(name: str) -> str:
    """`name` as a relative path that cannot leave its folder; raises BadFile for `..`, absolute and odd names."""
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable():
        raise BadFile(f"{name!r}: not a plain name inside the folder")
    return name
