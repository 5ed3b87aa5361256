"""Bytes on disk: whole or not at all; what is read is a regular file; a lock lasts as long as it is held."""

import errno
import fcntl
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents._publish import publish_path
from agents._run import sweep_folder
from bus import files, locks
from bus.files import BadFile
from tests.processes import environment, run

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_is_read_back_and_stays(document: object) -> None:
    data = files.canonical(document)
    assert files.parse(data, "it") == document
    assert files.canonical(files.parse(data, "it")) == data
    assert files.parse(files.pretty(document), "it") == document


@pytest.mark.parametrize("document", [float("nan"), {"a": [1.0, float("inf")]}, "\ud800", 2**64, {1}])
def test_canonical_refuses_what_is_no_json(document: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        files.canonical(document)


def test_a_long_integer_is_not_read_as_another_number() -> None:
    for number in (2**64, 10**18, -(10**30)):
        assert files.parse(b'{"a": %d}' % number, "it") == {"a": number}


@given(st.binary(max_size=200))
def test_parse_reads_or_refuses(data: bytes) -> None:
    try:
        document = files.parse(data, "it")
    except BadFile as error:
        assert str(error).startswith("it: not JSON")
    else:
        assert files.parse(files.canonical(document), "it") == document


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", '{"a": 1e999}', "", "{", "[" * 100_000, "1" * 5000])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(BadFile, match="not JSON"):
        files.parse(text.encode(), "it")


@pytest.mark.parametrize("nameless", [os.O_TMPFILE, os.O_DIRECTORY])  # the second is refused as FUSE refuses the first
def test_publish_is_new_or_nothing(tmp_path: Path, nameless: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", nameless)
    folder_fd = os.open(tmp_path, files.FOLDER)
    files.publish(folder_fd, "a.json", b"first")
    with pytest.raises(FileExistsError):
        files.publish(folder_fd, "a.json", b"second")
    os.close(folder_fd)
    assert (tmp_path / "a.json").read_bytes() == b"first"
    assert os.stat(tmp_path / "a.json").st_nlink == 1
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("sweeps", [1, 2])
def test_a_draft_that_is_swept_is_written_once_more(
    tmp_path: Path, sweeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is started beside a living writer, on a file system whose drafts have names."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    link, linked = os.link, Counter[str]()

    def link_after_sweep(source: str, name: str, **more: Any) -> None:
        linked[name] += 1
        if name == "b" and linked[name] <= sweeps:
            sweep_folder(folder_fd)
        link(source, name, **more)

    monkeypatch.setattr(os, "link", link_after_sweep)
    folder_fd = os.open(tmp_path, files.FOLDER)
    items = [(name, name.encode()) for name in "abc"]
    if sweeps == 1:
        assert files.publish_many(folder_fd, items) == []
        assert files.publish_many(folder_fd, [*items, ("d", b"d")]) == ["a", "b", "c"]
        files.publish(folder_fd, "e", b"e")
    else:
        with pytest.raises(FileNotFoundError):
            files.publish_many(folder_fd, items)
    os.close(folder_fd)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {name: name for name in ("abcde" if sweeps == 1 else "a")}


def test_publish_path_says_whether_it_is_new(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert publish_path(path, b"same") is True
    assert publish_path(path, b"same") is False
    for other in (b"sam", b"other", b"samesame"):
        with pytest.raises(FileExistsError):
            publish_path(path, other)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(FileExistsError):
        publish_path(tmp_path / "link", b"same")


REPLACER = """
import sys
from pathlib import Path
from bus import files
for n in range(100_000_000):
    files.replace(Path(sys.argv[1]), (str(n % 10) * 3000).encode())
"""


def test_replace_is_never_seen_half_done_and_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    files.replace(path, b"0" * 3000)
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", REPLACER, str(path)], env=environment())
        seen: set[bytes] = set()
        while len(seen) < 5:
            data = path.read_bytes()
            assert len(data) == 3000 and len(set(data)) == 1
            seen.add(data)
        writer.kill()
        writer.wait()
    files.replace(path, b"the next writer")
    assert path.read_bytes() == b"the next writer"
    assert os.listdir(tmp_path) == ["status.json"]


def test_reads_regular_files_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("secret")
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, why in [("link", "symbolic link"), ("fifo", "not a regular file"), ("folder", "not a regular file")]:
        with pytest.raises(BadFile, match=why):
            files.read_bytes(tmp_path / name)
        with pytest.raises(BadFile, match=why):
            files.sha256_file(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "none")
    with pytest.raises(BadFile, match="more than the 5"):
        files.read_bytes(tmp_path / "a", limit=5)


@pytest.mark.parametrize("name", ["a", "a/b.json", "sources/x.md", "ä b"])
def test_inside(name: str) -> None:
    assert files.inside(name) == name


@pytest.mark.parametrize("name", ["", "/a", "a/", "..", "a/../b", "./a", "a//b", "a\nb", "a\x00", "a\x7f", "\udc80"])
def test_not_inside(name: str) -> None:
    with pytest.raises(BadFile, match="not a plain name"):
        files.inside(name)


def test_remove_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keep").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "outside")
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "tree")
    assert os.listdir(tmp_path) == ["outside"] and (tmp_path / "outside/keep").exists()


def test_full_is_found_behind_other_errors() -> None:
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise ValueError("could not save") from error
    except ValueError as error:
        assert files.is_full(error)
    assert not files.is_full(OSError(5, "Input/output error"))


LOCK = """
import os, sys
from bus import locks
descriptor = os.open(sys.argv[1], os.O_RDWR)
print(locks.take(descriptor), locks.is_held(sys.argv[1]))
"""


def locked_elsewhere(path: Path) -> str:
    """What another process says: could it take the lock, and is it locked then."""
    return run("-c", LOCK, str(path)).stdout.strip()


def test_a_lock_is_one_holders_and_ends_by_closing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    assert not locks.is_held(path) and not locks.is_held(tmp_path / "none")
    descriptor = os.open(path, os.O_RDWR)
    assert locks.take(descriptor) and locks.take(descriptor)
    assert locks.is_held(path)
    assert locked_elsewhere(path) == "False True"
    os.close(os.open(path, os.O_RDWR))  # unlike a POSIX lock: closing another descriptor changes nothing
    assert locks.is_held(path)
    os.close(descriptor)
    assert not locks.is_held(path)
    assert locked_elsewhere(path) == "True True"
    assert not locks.is_held(path)


def test_a_lock_passes_to_a_child_and_ends_with_the_last_holder(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    assert locks.take(descriptor)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    os.close(descriptor)
    assert locks.is_held(path)
    assert locked_elsewhere(path) == "False True"
    child.kill()
    child.wait()
    assert not locks.is_held(path)
    assert child.stdin is not None
    child.stdin.close()


def test_a_lock_is_seen_where_the_file_may_only_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    locks.take(descriptor)
    path.chmod(0o444)
    tmp_path.chmod(0o755)
    code = f"import os, sys; sys.path[:0] = {sys.path!r}\nfrom bus import locks\n"
    code += "os.getuid() or os.setuid(65534)\nprint(locks.is_held('a'))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert shown.stdout == "True\n", shown.stderr
    os.close(descriptor)


def test_flock_where_there_is_no_other_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses an unknown command as it refuses these on a file system that has none: EINVAL."""
    monkeypatch.setattr(fcntl, "F_OFD_SETLK", 9999)
    monkeypatch.setattr(fcntl, "F_OFD_GETLK", 9999)
    path = tmp_path / "a"
    path.touch(mode=0o644)
    first, second = (os.open(path, os.O_RDWR) for _ in range(2))
    assert not locks.is_held(path) and locks.take(first)
    assert locks.is_held(path) and not locks.take(second)
    os.close(first)
    assert not locks.is_held(path) and locks.take(second)
    os.close(second)


def test_what_cannot_be_tested_is_not_taken_by_the_other_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.touch()
    with monkeypatch.context() as context:
        context.setattr(fcntl, "F_OFD_GETLK", 9999)
        assert not locks.is_held(path), "and no error of a lock that needs a file open for writing"
        descriptor = os.open(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert locks.is_held(path)
        os.close(descriptor)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    descriptor = os.open(path, os.O_RDWR)
    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    for call in (lambda: locks.take(descriptor), lambda: locks.is_held(path)):
        with pytest.raises(OSError, match="No locks available"):
            call()
    os.close(descriptor)


def test_golden_bytes() -> None:
    """Hashes of requests are kept for years: their one byte form must not change."""
    document = {"schema": "request.v1", "id": "r1", "text": "é\n", "n": 1.5, "list": [None, True]}
    assert (
        files.canonical(document).decode()
        == '{"schema":"request.v1","id":"r1","text":"é\\n","n":1.5,"list":[null,true]}\n'
    )
    assert files.sha256(files.canonical(document)).startswith("8c05947090f87f1c")
