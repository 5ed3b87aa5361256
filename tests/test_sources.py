"""Sources: what is read, what is refused, and that the same machine reads the same twice."""

from __future__ import annotations

import contextlib
import doctest
import errno
import gzip
import http.server
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import collect
from agents.sources import catalogues, docstring, fetch, modules, outline, prose, texts
from agents.sources import reader as reading
from bus import schema

STDLIB = ["gc", "resource", "subprocess", "signal", "enum", "concurrent.futures", "faulthandler"]


@pytest.fixture(scope="module")
def answers() -> dict[str, dict]:
    return modules.ask(STDLIB, [])


@pytest.mark.parametrize("module", [docstring, prose, texts, reading, catalogues, outline], ids=lambda m: m.__name__)
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


GOOGLE = """Free ``size`` bytes of :class:`~torch.Pool`. It waits, e.g. for a kernel.

Some rules:

- ``all``: every pool
  there is
- ``one``: a single pool

Args:
    size (int or float, optional): how much,
        in bytes (default: ``1``)
    *args: the rest

Returns:
    bool: whether it worked

Raises:
    ValueError: if size is negative

.. note:: Not for :func:`free`.
.. warning::
    Dangerous.
.. versionadded:: 3.5
   The size.

Example::

    >>> free(3)
    True

Last words::

    drawing that is no prose
"""


def test_a_google_docstring() -> None:
    found = docstring.parse(GOOGLE)
    assert found.summary == "Free `size` bytes of `torch.Pool`."
    assert ("details", "It waits, e.g. for a kernel.") in found.body
    assert [text for kind, text in found.body if kind == "item"] == [
        "- `all`: every pool there is",
        "- `one`: a single pool",
    ]
    assert found.parameters == [
        ("size", "int or float, optional", "how much, in bytes (default: `1`)"),
        ("*args", "", "the rest"),
    ]
    assert found.returns == "bool: whether it worked"
    assert found.raises == [("ValueError", "if size is negative")]
    assert found.notices == [
        ("note", "Not for `free`."),
        ("warning", "Dangerous."),
        ("changed", "Version 3.5: The size."),
    ]
    assert found.examples[0] == ">>> free(3)\nTrue"
    assert not any("drawing" in text for _, text in found.body)


@pytest.mark.parametrize(
    "doc",
    [
        "Do.\n\nParameters\n----------\nx : int\n    The size.\n\nReturns\n-------\nbool\n    Whether.",
        "Do.\n\n:param int x: The size.\n:returns: bool Whether.\n",
    ],
)
def test_numpy_and_sphinx_docstrings(doc: str) -> None:
    found = docstring.parse(doc)
    assert (found.summary, found.parameters, found.returns) == ("Do.", [("x", "int", "The size.")], "bool Whether.")


def test_argument_clinic_docstring() -> None:
    found = docstring.parse("Call it.\n\n  path\n    Where it is.\n  flag\n    Whether\n    to follow.")
    assert found.parameters == [("path", "", "Where it is."), ("flag", "", "Whether to follow.")]


def test_prose_is_on_one_line_whatever_the_docstring() -> None:
    for doc in (
        "",
        "::",
        "Args:",
        "Args:\n  (",
        ":param",
        ".. note::",
        "```",
        ">>> ",
        "- ",
        "\x00\n\n\t- x",
        "a\n---\n",
        "Raises:\n    x",
    ):
        found = docstring.parse(doc)
        pieces = [found.summary, found.returns, *[text for _, text in found.body]]
        assert not any("\n" in piece for piece in pieces), doc


def test_a_module_is_written_in_the_promised_form(answers: dict[str, dict]) -> None:
    text = modules.module_markdown("subprocess", answers["subprocess"])
    assert text.startswith("# subprocess\n\nSubprocesses with accessible I/O streams\n")
    block = re.search(r"\n## subprocess\.CalledProcessError\n(.*?)\n#", text, re.DOTALL)
    assert block
    pieces = block[1].strip().split("\n\n")
    assert pieces[0] == "Kind: exception"
    assert pieces[1].startswith("Signature: `subprocess.CalledProcessError(returncode, cmd")
    assert pieces[2] == "Bases: `subprocess.SubprocessError`, `Exception`."
    assert "- `bufsize` (default `-1`): supplied as the buffering argument" in text
    assert "### subprocess.Popen.communicate\n\nKind: method\n" in text
    assert "\n- `ValueError` in `run`: stdin and input arguments may not both be used.\n" in text


def test_modules_in_c_and_constants_and_enums(answers: dict[str, dict]) -> None:
    collect_doc = modules.module_markdown("gc", answers["gc"])
    assert "## gc.collect\n\nKind: function\n\nSignature: `gc.collect(generation=2)`\n" in collect_doc
    assert "\n- `DEBUG_LEAK` = `38`" in collect_doc
    assert re.search(r"\n- `RLIMIT_AS` = `\d+`\n", modules.module_markdown("resource", answers["resource"]))
    signals = modules.module_markdown("signal", answers["signal"])
    assert "Kind: enum\n" in signals and "\n- `SIGKILL` = `9`\n" in signals


def test_reading_twice_gives_the_same_bytes_and_nothing_of_this_machine(answers: dict[str, dict]) -> None:
    again = modules.ask(STDLIB, [])
    for name in STDLIB:
        text = modules.module_markdown(name, answers[name])
        assert text == modules.module_markdown(name, again[name])
        assert not re.search(r"0x[0-9a-f]{6,}| at 0x|<object object", text)
        assert str(Path.home()) not in text and os.getcwd() not in text


def test_the_reading_process_has_an_empty_environment_and_names_the_module_at_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAILROOM_TEST_SECRET", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    assert "MAILROOM_TEST_SECRET" not in json.dumps(modules.ask(["os"], [])["os"])
    with pytest.raises(
        modules.Unreadable, match=r"^pydoc:no_such_module_here: cannot be read \(ModuleNotFoundError.*; install it"
    ):
        modules.ask(["gc", "no_such_module_here"], [])


def test_what_an_import_prints_is_not_taken_for_an_answer() -> None:
    text = modules.module_markdown("this", modules.ask(["this"], [])["this"])  # importing `this` prints a poem
    assert "Beautiful" not in text


def test_errno_and_signals() -> None:
    text = catalogues.errors_markdown()
    assert f"\n- `ENOMEM` ({errno.ENOMEM}): {os.strerror(errno.ENOMEM)}\n" in text
    assert f"- `FileNotFoundError`: raised for `ENOENT` ({errno.ENOENT})\n" in text
    assert text.count("\n- `E") == len([name for name in dir(errno) if name.startswith("E")])
    assert "\n- `SIGKILL` (9): Killed\n" in catalogues.signals_markdown()
    assert (
        "\n- `SIGKILL`: exit status 137 in a shell, `returncode` -9 in `subprocess`\n" in catalogues.signals_markdown()
    )


def test_nvml_codes_are_those_of_the_installed_pynvml() -> None:
    import pynvml

    text = catalogues.nvml_markdown()
    rows = dict(re.findall(r"- `(NVML_ERROR_\w+)` \((\d+)\)", text))
    codes = {name: str(value) for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}
    assert rows == codes
    assert f"- `NVML_ERROR_GPU_IS_LOST` (15): {pynvml.NVMLError(15)}\n" in text
    for name in re.findall(r"`(NVMLError_\w+)`: raised for", text):
        assert issubclass(getattr(pynvml, name), pynvml.NVMLError)


def test_torch_and_its_error_classes() -> None:
    specs = ["pydoc:torch.utils.checkpoint", "catalogue:torch-errors"]
    reader = reading.Reader(specs, [])
    module, errors = reader.read(specs[0]), reader.read(specs[1])
    assert "## torch.utils.checkpoint.checkpoint\n" in module.text and module.licence and "BSD" in module.licence
    assert module.version and errors.version == module.version and errors.kind == "catalogue"
    assert "## torch.OutOfMemoryError\n\nKind: exception\n\nBases: `RuntimeError`, `Exception`.\n" in errors.text
    assert "## torch.distributed.DistNetworkError\n" in errors.text


def test_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "secret.md").write_text("SECRET")
    (folder / "b.md").write_text("# Title\n\ntext\r\nwith \x1b[31mred\x07 and \u202eturned\n```\n# no heading\n```\n")
    (folder / "deep" / "a.txt").write_text("plain")
    (folder / "binary.md").write_bytes(b"\x00\x01")
    (folder / "latin.md").write_bytes("é".encode("latin-1"))
    (folder / ".hidden.md").write_text("SECRET")
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "outside").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    reader = reading.Reader(["dir:notes", "file:notes/b.md", "file:notes/binary.md"], [tmp_path], tmp_path)
    text = reader.read("dir:notes").text
    assert "SECRET" not in text and "root:" not in text and "binary" not in text
    assert text.startswith("# notes\n\n## b.md\n\n### Title\n\ntext\nwith [31mred and turned\n```\n# no heading\n```\n")
    assert text.endswith("## deep/a.txt\n\nplain\n")
    one = reader.read("file:notes/b.md")
    assert (one.title, one.kind, one.licence) == ("Title", "file", None)
    with pytest.raises(reading.Unreadable, match="is no text of at most"):
        reader.read("file:notes/binary.md")
    with pytest.raises(reading.Unreadable, match="outside the allowed paths"):
        reading.Reader(["file:secret.md"], [folder], tmp_path).read("file:secret.md")


def test_a_manual_page_becomes_markdown() -> None:
    printed = (
        "LS(1)                User Commands               LS(1)\n\nNAME\n       ls - list directory contents\n\n"
        "DESCRIPTION\n       List information about\n       the FILEs.\n\n"
        "       -a, --all\n              do not ignore entries\n              starting with .\n\n"
        "       -l     use a long listing format\n\nGNU       January 2026        LS(1)\n"
    )
    title, text = texts.manual(printed)
    assert title == "ls(1)"
    assert text == (
        "# ls(1)\n\n## NAME\n\nls - list directory contents\n\n## DESCRIPTION\n\nList information about the FILEs.\n\n"
        "- `-a, --all`: do not ignore entries starting with .\n\n- `-l`: use a long listing format\n"
    )


def test_ids_are_file_names_and_differ() -> None:
    specs = ["pydoc:a.b_c", "pydoc:a.b.c", "url:https://example.org/" + "x" * 300, "file:../../up.md", "file:é"]
    ids = list(reading.identify(specs).values())
    assert len(set(ids)) == len(specs)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,99}", one) for one in ids), ids


def test_rows_follow_their_schema() -> None:
    reader = reading.Reader(["catalogue:errno"], [])
    source = reader.read("catalogue:errno")
    row = reading.source_row("catalogue-errno", source, ["errors"])
    schema.check(row, "source.v1")
    assert row["bytes"] == len(source.text.encode()) and row["licence"] == "PSF-2.0"
    times = {
        "id": row["id"],
        "origin": row["origin"],
        "retrieved": collect.read(reader, "catalogue:errno")["retrieved"],
    }
    schema.check({"schema": "retrieved.v1", "sources": [times]}, "retrieved.v1")


PAGES: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/page": (
        200,
        {"Content-Type": "text/html; charset=utf-8"},
        (
            "<html><head><title>A  page</title><script>evil()</script></head><body><nav>menu</nav><main>"
            "<h1>Héading</h1><p>One <code>x</code>\x07 and <a href='javascript:x'>link</a>.</p>"
            "<ul><li>item</li></ul></main></body>"
        ).encode(),
    ),
    "/plain": (200, {"Content-Type": "text/plain"}, b"just text"),
    "/image": (200, {"Content-Type": "image/png"}, b"\x89PNG"),
    "/missing": (404, {}, b"no"),
    "/broken": (503, {}, b"later"),
    "/big": (200, {"Content-Type": "text/plain"}, b"x" * 2_000_001),
    "/bomb": (200, {"Content-Type": "text/plain", "Content-Encoding": "gzip"}, gzip.compress(b"0" * 30_000_000)),
    "/deep": (200, {"Content-Type": "text/html"}, b"<div>" * 20_000 + b"x"),
    "/hop": (302, {"Location": "/page"}, b""),
    "/loop": (302, {"Location": "/loop"}, b""),
    "/to-file": (302, {"Location": "file:///etc/passwd"}, b""),
    "/to-metadata": (302, {"Location": "http://169.254.169.254/latest/meta-data/"}, b""),
}


class Handler(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        host, port = self.connection.getsockname()
        self.asked.append(f"{host}{self.path}")
        if self.path == "/drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.2)
            return
        if self.path == "/to-neighbour":
            answer = (302, {"Location": f"http://127.0.0.2:{port}/page"}, b"")
        else:
            answer = PAGES[self.path]
        self.send_response(answer[0])
        for name, value in answer[1].items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer[2])))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(answer[2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    first = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    second = http.server.ThreadingHTTPServer(("127.0.0.2", first.server_address[1]), Handler)
    for one in (first, second):
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{first.server_address[1]}"
    first.shutdown()
    second.shutdown()


LOOPBACK = ("127.0.0.1",)


def test_a_web_page_becomes_markdown(server: str) -> None:
    title, text = reading.fetched(f"http://{server}/page", LOOPBACK)
    assert (title, text) == ("Héading", "# Héading\n\nOne `x` and link.\n\n- item\n")
    assert reading.fetched(f"http://{server}/hop", LOOPBACK)[0] == "Héading"
    assert reading.fetched(f"http://{server}/plain", LOOPBACK)[1].endswith("\n\njust text\n")


@pytest.mark.parametrize(
    ("path", "says", "again"),
    [
        ("image", "is 'image/png' and no text", False),
        ("missing", "the server answered 404; correct", False),
        ("broken", "the server answered 503", True),
        ("big", "larger than 2000000 bytes", False),
        ("bomb", "larger than 2000000 bytes", False),
        ("deep", "deeply nested", False),
        ("loop", "redirects more than 5 times", False),
        ("to-file", "no plain http or https address", False),
        ("to-metadata", "169.254.169.254 is a private or local address", False),
    ],
)
def test_a_page_that_must_not_be_read_is_refused(server: str, path: str, says: str, again: bool) -> None:
    with pytest.raises(reading.Unreachable if again else reading.Unreadable, match=re.escape(says)) as caught:
        reading.fetched(f"http://{server}/{path}", LOOPBACK)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("url:http://")


def test_a_redirect_to_another_private_address_never_connects(server: str) -> None:
    Handler.asked.clear()
    with pytest.raises(reading.Unreadable, match=r"127\.0\.0\.2 is a private or local address"):
        reading.fetched(f"http://{server}/to-neighbour", LOOPBACK)
    assert Handler.asked == ["127.0.0.1/to-neighbour"]


def test_without_leave_no_private_address_is_connected_to(server: str) -> None:
    Handler.asked.clear()
    port = server.partition(":")[2]
    hosts = (
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
    )
    for host in hosts:
        with pytest.raises(reading.Unreadable, match="private or local"):
            reading.fetched(f"http://{host}:{port}/page")
        with pytest.raises((fetch.Refused, fetch.Unreachable)) as caught:  # the second lock, behind the form of the URL
            fetch.connect(host.strip("[]"), int(port), ())
        assert "private or local" in str(caught.value) or "cannot be resolved" in str(caught.value)
    assert Handler.asked == []


def test_a_page_that_drips_is_given_up(server: str) -> None:
    begun = time.monotonic()
    with pytest.raises(reading.Unreachable, match="gave no whole answer in 2 s"):
        reading.fetched(f"http://{server}/drip", LOOPBACK, seconds=2)
    assert time.monotonic() - begun < 10


def test_nobody_there_is_the_networks_fault() -> None:
    with pytest.raises(reading.Unreachable, match="port 1 does not answer"):
        reading.fetched("http://127.0.0.1:1/", LOOPBACK)
