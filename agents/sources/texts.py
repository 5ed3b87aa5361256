"""Read text that is already on this machine: files, folders and manual pages."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import unicodedata
from pathlib import Path

from agents.sources.locate import missing_path, page_command, resolved
from agents.sources.modules import Unreadable

MAX_FILE = 2_000_000  # bytes of one file; the longest text that a person writes and reads has less
MAX_FOLDER = 4_000_000  # bytes of one dir: source together
MAX_FILES = 500  # files of one dir: source
MAN_SECONDS = 20  # bash(1), the longest page, formats in 0.4 s
MAN_WIDTH = "160"  # columns: wide enough that tables of options stay on one line
KEPT_CONTROLS = "\n\t"
FENCE = re.compile(r"\s*(```|~~~)")


def plain(text: str) -> str:
    """Return text with Unix line ends and without control, direction and private characters or trailing blanks.

    >>> plain("a\\x1b[31m\\r\\nb\\u202e  ")
    'a[31m\\nb\\n'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    if not text.isascii() or not text.isprintable():
        text = "".join(c for c in text if c in KEPT_CONTROLS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{4,}", "\n\n\n", lines).strip("\n") + "\n"


def read_text(path: Path) -> str | None:
    """Return a regular file's text, None if it is binary, no regular file, or larger than MAX_FILE."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = stream.read(MAX_FILE + 1)
    if len(content) > MAX_FILE or b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def opened(spec: str, path: Path) -> str | None:
    """Return what read_text does; a file that may not be read is Unreadable, not a fault of ours."""
    try:
        return read_text(path)
    except OSError as error:
        raise Unreadable(f"{spec}: {path.name} cannot be read ({error.strerror}); correct its rights") from None


def file_markdown(target: str, allowed: list[Path], root: Path) -> tuple[str, str]:
    """Return (title, Markdown) of a `file:` source."""
    path = checked("file", target, allowed, root)
    text = opened(f"file:{target}", path)
    if text is None:
        raise Unreadable(f"file:{target}: is no text of at most {MAX_FILE} bytes in UTF-8; convert it or leave it out")
    return titled(path.name, plain(text))


def folder_markdown(target: str, allowed: list[Path], root: Path) -> tuple[str, str]:
    """Return (title, Markdown) of a `dir:` source: every text file in it, in order of names."""
    folder = checked("dir", target, allowed, root)
    pieces, size = [f"# {folder.name}"], 0
    for path in text_files(folder):
        text = opened(f"dir:{target}", path)
        if text is None:
            continue
        size += len(text.encode("utf-8", "replace"))
        pieces.append(f"## {plain(path.relative_to(folder).as_posix()).strip()}")
        pieces.append(lowered(plain(text)).strip("\n"))
        if size > MAX_FOLDER or len(pieces) > 2 * MAX_FILES:
            limit = f"{MAX_FILES} text files or {MAX_FOLDER} bytes"
            raise Unreadable(f"dir:{target}: holds more than {limit}; name a folder inside it")
    if len(pieces) == 1:
        raise Unreadable(f"dir:{target}: holds no text file; name another folder")
    return folder.name, "\n\n".join(pieces) + "\n"


def checked(kind: str, target: str, allowed: list[Path], root: Path) -> Path:
    """Return where a path really is, or raise Unreadable if it must not be read."""
    trouble = missing_path(kind, target, allowed, root)
    path = resolved(target, root)
    if trouble or path is None:
        raise Unreadable(f"{kind}:{target}: {trouble}")
    return path


def text_files(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted; hidden ones, links, sockets and pipes are passed over."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(place, name)
            if not name.startswith(".") and stat.S_ISREG(path.lstat().st_mode):
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def lowered(text: str) -> str:
    """Return Markdown with its headings two levels deeper, outside of code fences, at most level 6."""
    out, fenced = [], False
    for line in text.split("\n"):
        fenced ^= bool(FENCE.match(line))
        heading = re.match(r"(#{1,6}) ", line)
        if heading and not fenced:
            line = "#" * min(6, len(heading[1]) + 2) + line[len(heading[1]) :]
        out.append(line)
    return "\n".join(out)


def titled(name: str, text: str) -> tuple[str, str]:
    """Return (title, text) where the text begins with a `# title`."""
    heading = re.match(r"# +(\S.*)\n", text)
    return (heading[1], text) if heading else (name, f"# {name}\n\n{text}")


def page_markdown(target: str) -> tuple[str, str]:
    """Return (title, Markdown) of a manual page: sections as headings, paragraphs on one line each."""
    man = shutil.which("man")
    if not man:
        raise Unreadable(f"man:{target}: this machine has no `man`; install man-db or leave the page out")
    environment = {"PATH": os.defpath, "MANWIDTH": MAN_WIDTH, "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "TERM": "dumb"}
    environment["GROFF_NO_SGR"] = "1"  # bold as backspaces, which are stripped below, and not as escape codes
    try:
        done = subprocess.run(
            [man, "-P", "cat", *page_command(target)], capture_output=True, env=environment, timeout=MAN_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Unreadable(f"man:{target}: formatting it took more than {MAN_SECONDS} s; leave it out") from None
    printed = re.sub(r".\x08", "", done.stdout.decode("utf-8", "replace"))
    if done.returncode or not printed.strip() or len(printed) > MAX_FILE:
        raise Unreadable(f"man:{target}: there is no such manual page here; install it or leave it out")
    return manual(plain(printed))


def manual(text: str) -> tuple[str, str]:
    """Return (title, Markdown) of a formatted manual page.

    Headings stand at the left edge, text 7 columns in; a term of a list ends with its description indented deeper.
    """
    first = re.match(r"(\S+\([^)]+\))", text)
    title = first[1].lower() if first else "manual page"
    pieces = [f"# {title}"]
    blocks = re.split(r"\n\s*\n", text.partition("\n")[2])
    for block in blocks:
        lines = block.strip("\n").split("\n")
        if re.fullmatch(r"[A-Z][A-Z0-9 ,()/-]+", lines[0]):
            pieces.append(f"## {lines.pop(0).strip()}")
        if lines and not re.match(r"\S.*\S {8,}\S", lines[0]):  # the page's last line: date and title
            pieces += [piece for piece in [paragraph(lines)] if piece]
    return title, "\n\n".join(pieces) + "\n"


def paragraph(lines: list[str]) -> str:
    """Return a block as one line: a list's term and description as a bullet, else prose."""
    depth = [len(line) - len(line.lstrip()) for line in lines]
    words = [re.sub(r"\s+", " ", line).strip() for line in lines]
    if len(lines) > 1 and depth[0] < min(depth[1:]) and len(words[0]) <= 60:
        return f"- `{words[0].replace('`', '')}`: {' '.join(words[1:])}"
    term = re.match(r"\s*(-\S.{0,40}?) {2,}(\S.*)", lines[0]) if lines else None
    if term:
        return f"- `{term[1].replace('`', '')}`: {' '.join([re.sub(' +', ' ', term[2]), *words[1:]])}"
    return " ".join(words).strip()
