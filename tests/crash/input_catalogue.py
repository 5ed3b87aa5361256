"""What may lie in an inbox that is no request: bad bytes, odd names, things that are no file.

Each entry plants one thing at `path`, and has the words that its dead letter must say beside the file's name. `good` is
the document that would be right there; `outside` is a folder beside the run whose files nobody may read or change.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bus import files

STEP = "10-first"
GB = 1 << 30
LIMIT = 16 << 20  # bytes that a request may have
Plant = Callable[[Path, dict[str, Any], Path], object]


def request(id: str) -> dict[str, Any]:
    """A request that both a step and a service take."""
    return {"schema": "request.v1", "id": id, "step": STEP, "round": 1}


def data(make: Callable[[bytes], bytes]) -> Plant:
    """Plant what `make` makes of a good request's bytes."""
    return lambda path, good, outside: path.write_bytes(make(files.canonical(good)))


def document(make: Callable[[dict[str, Any]], Any]) -> Plant:
    """Plant what `make` makes of a good request's document."""
    return lambda path, good, outside: path.write_text(json.dumps(make(good)))


def with_value(text: str) -> Plant:
    """Plant a good request with one more key, whose value is spelt as `text`."""
    return data(lambda good: good.rstrip()[:-1] + b',"more":' + text.encode("utf-8", "surrogatepass") + b"}")


BYTES: dict[str, tuple[Plant, str]] = {
    "nothing": (data(lambda good: b""), "not JSON"),
    "a half": (data(lambda good: good[: len(good) // 2]), "not JSON"),
    "all but one byte": (data(lambda good: good.rstrip()[:-1]), "not JSON"),
    "two documents": (data(lambda good: good + good), "not JSON"),
    "a NUL at the end": (data(lambda good: good + b"\0"), "not JSON"),
    "1 MB of zeros": (data(lambda good: bytes(1 << 20)), "not JSON"),
    "NaN": (with_value("NaN"), "not JSON"),
    "Infinity": (with_value("Infinity"), "not JSON"),
    "-Infinity": (with_value("-Infinity"), "not JSON"),
    "a number past all floats": (with_value("1e999"), "not JSON"),
    "an integer past 64 bits": (with_value("9" * 30), "Integer exceeds 64-bit range|Additional properties"),
    "a number of 5,000 digits": (with_value("9" * 5000), "not JSON|Integer exceeds 64-bit range|Additional prop"),
    "100,000 lists in each other": (with_value("[" * 100_000 + "]" * 100_000), "not JSON"),
    "100,000 objects in each other": (with_value('{"a":' * 100_000 + "1" + "}" * 100_000), "not JSON"),
    "100,000 lists that do not end": (data(lambda good: b"[" * 100_000), "not JSON"),
    "a key twice, the last for another": (
        data(lambda good: good.replace(b"}", b',"id":"other"}', 1)),
        "its id is 'other'",
    ),
    "500 lists in each other": (with_value("[" * 500 + "]" * 500), "request.v1: |ecursion"),
    "a BOM": (data(lambda good: b"\xef\xbb\xbf" + good), "not JSON"),
    "UTF-16": (data(lambda good: good.decode().encode("utf-16")), "not JSON"),
    "UTF-16 with no BOM": (data(lambda good: good.decode().encode("utf-16-le")), "not JSON"),
    "UTF-32": (data(lambda good: good.decode().encode("utf-32")), "not JSON"),
    "bytes that are no text": (data(lambda good: good.replace(b"10", b"\xff\xfe")), "not JSON"),
    "half a character as the ID": (document(lambda good: {**good, "id": "\ud800"}), "not JSON"),
    "a list": (document(lambda good: [good]), "request.v1: the document: |is not a JSON object"),
    "a text": (document(lambda good: "text"), "request.v1: the document: |is not a JSON object"),
    "a number": (document(lambda good: 1), "request.v1: the document: |is not a JSON object"),
    "null": (document(lambda good: None), "request.v1: the document: |is not a JSON object"),
    "another's ID": (document(lambda good: {**good, "id": "other"}), "its id is 'other', not '"),
    "a number as the ID": (document(lambda good: {**good, "id": 1}), "request.v1: id: |its id is '1', not '"),
}
QUIRKS: dict[str, Plant] = {  # what is a good request after all
    "a key twice, the last for this": data(lambda good: good.replace(b'{"', b'{"id":"other","', 1)),
    "spaces and lines": document(lambda good: good),
    "escapes": data(lambda good: good.replace(b'"id"', b'"\\u0069d"')),
}
OF_A_STEP: dict[str, tuple[Plant, str]] = {  # a service here takes any object that names no other ID
    "another step": (document(lambda good: {**good, "step": "20-other"}), "its step is '20-other', not '10-first'"),
    "another schema": (document(lambda good: {**good, "schema": "reply.v1"}), "request.v1: schema: "),
    "a key too few": (document(lambda good: {"schema": "request.v1", "id": good["id"]}), 'request.v1: the document: "'),
    "a key too many": (document(lambda good: {**good, "more": 1}), "request.v1: the document: Additional properties"),
    "a round that is no number": (document(lambda good: {**good, "round": "1"}), "request.v1: round: "),
    "round 0": (document(lambda good: {**good, "round": 0}), "request.v1: round: "),
}


def link(target: Callable[[Path, Path], object]) -> Plant:
    return lambda path, good, outside: path.symlink_to(str(target(path, outside)))


def hard_link(path: Path, good: dict[str, Any], outside: Path) -> None:
    """A second name of a file outside that would be a good request."""
    (outside / path.name).write_bytes(files.canonical(good))
    path.hardlink_to(outside / path.name)


def listen(path: Path) -> None:
    """A socket; its address goes by a descriptor, because addresses are short."""
    folder_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{folder_fd}/{path.name}")
    os.close(folder_fd)


def full_folder(path: Path, good: dict[str, Any], outside: Path) -> None:
    path.mkdir()
    (path / path.name).write_bytes(files.canonical(good))


def sparse(size: int, start: bool = False) -> Plant:
    """A file of `size` bytes that takes no room: zeros, or a good request and zeros after it."""

    def plant(path: Path, good: dict[str, Any], outside: Path) -> None:
        path.write_bytes(files.canonical(good) if start else b"")
        os.truncate(path, size)

    return plant


THINGS: dict[str, tuple[Plant, str]] = {
    "2 GB of zeros": (sparse(2 * GB), "2,147,483,648 bytes, more than the 16,777,216"),
    "2 GB that begin well": (sparse(2 * GB, start=True), "2,147,483,648 bytes, more than the 16,777,216"),
    "a byte too many": (sparse(LIMIT + 1, start=True), "16,777,217 bytes, more than the 16,777,216"),
    "a link to a good request outside": (link(lambda path, outside: outside / "canary.json"), "symbolic link"),
    "a link to a good request beside it": (link(lambda path, outside: "good-1.json"), "symbolic link"),
    "a link to nothing": (link(lambda path, outside: outside / "nothing"), "symbolic link"),
    "a link to itself": (link(lambda path, outside: path.name), "symbolic link"),
    "a link to endless zeros": (link(lambda path, outside: "/dev/zero"), "symbolic link"),
    "a link to a folder": (link(lambda path, outside: outside), "symbolic link"),
    "a hard link": (hard_link, "hard link"),
    "a FIFO": (lambda path, good, outside: os.mkfifo(path), "not a regular file"),
    "a socket": (lambda path, good, outside: listen(path), "not a regular file"),
    "a folder": (lambda path, good, outside: path.mkdir(), "is a folder"),
    "a folder with a request in it": (full_folder, "is a folder"),
}


def device(kind: int, major: int, minor: int) -> Plant:
    return lambda path, good, outside: os.mknod(path, 0o666 | kind, os.makedev(major, minor))


OF_ROOT: dict[str, tuple[Plant, str]] = {
    "/dev/zero": (device(stat.S_IFCHR, 1, 5), "not a regular file"),
    "/dev/full": (device(stat.S_IFCHR, 1, 7), "not a regular file"),
    "a device with no driver": (device(stat.S_IFCHR, 10, 250), "not a regular file"),
    "a disk that is not there": (device(stat.S_IFBLK, 7, 250), "not a regular file"),
}

NAMES: tuple[bytes, ...] = (  # each holds a good request; hidden names (a dot first) are not looked at, by design
    b"Upper.json",
    b"q..json",
    b"a..b.json",
    b"-q.json",
    b"_q.json",
    b"q",
    b"q.JSON",
    b"q.json~",
    b"q.json.json",
    b"q q.json",
    b" .json",
    b"q\nq.json",
    b"q.json\n",
    b"q\tq.json",
    b"\x01\x1b[31mq.json",
    b"q\x7f.json",
    b"\xff\xfe.json",
    b"\xc3.json",
    "é.json".encode(),
    "q\u202eq.json".encode(),  # the right-to-left override
    "q\u2028q.json".encode(),  # ends a line, for some readers
    "r１.json".encode(),
    b"'\"$(id).json",
    b"\\..\\q.json",
    b"q" * 101 + b".json",
    b"q" * 200,
    b"q" * 250 + b".json",
    b"\xff" * 255,
)
