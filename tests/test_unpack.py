"""What an enemy packed does not come out at all, and leaves nothing behind."""

import gzip
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forged import Forged
from tests.small import ROOT, command


def unlisted(forged: Forged, name: str, data: bytes = b"x") -> None:
    forged.listed = False
    forged.add(name, data)


def other_bytes(forged: Forged) -> None:
    at = next(at for at, (member, _) in enumerate(forged.members) if member.name.endswith("sum.txt"))
    forged.members[at] = (forged.members[at][0], b"6\n")


def without(forged: Forged, name: str) -> None:
    forged.members = [one for one in forged.members if not one[0].name.endswith(name)]


def no_run(forged: Forged) -> None:
    without(forged, "run.json")
    forged.add("small/run.json", b"{}", at=1)


FORGED: dict[str, tuple[Callable[[Forged], object], str]] = {
    "absolute": (lambda one: one.add("/tmp/escaped", b"x"), "not a plain name"),
    "parent": (lambda one: one.add("small/../../escaped", b"x"), "not a plain name"),
    "dot": (lambda one: one.add("small/./goal2.md", b"x"), "not a plain name"),
    "control characters": (lambda one: one.add("small/a\x1b[31m", b"x"), "not a plain name"),
    "symbolic link": (lambda one: one.add("small/x", kind=tarfile.SYMTYPE, linkname="goal.md"), "a link or a device"),
    "link out": (lambda one: one.add("small/x", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "do not trust"),
    "hard link": (lambda one: one.add("small/x", kind=tarfile.LNKTYPE, linkname="small/goal.md"), "a link or a device"),
    "device": (lambda one: one.add("small/x", kind=tarfile.CHRTYPE), "do not trust"),
    "pipe": (lambda one: one.add("small/x", kind=tarfile.FIFOTYPE), "do not trust"),
    "twice": (lambda one: one.add("small/goal.md", b"other"), "is there twice"),
    "file below a file": (lambda one: one.add("small/goal.md/x", b"x"), "comes before its folder"),
    "second folder": (lambda one: one.add("other", kind=tarfile.DIRTYPE), "holds other, small"),
    "file at the top": (lambda one: one.add("loose", b"x"), "has none"),
    "no manifest": (lambda one: one.manifest.update(run="other"), "do not trust"),
    "not in the manifest": (
        lambda one: unlisted(one, "small/extra"),
        "small/extra: was added: MANIFEST.json does not know it",
    ),
    "missing": (lambda one: without(one, "goal.md"), "small/goal.md: is missing"),
    "other bytes": (other_bytes, "20-sum/outbox/r1/sum.txt: is not as MANIFEST.json says (sha256)"),
    "foreign manifest": (lambda one: one.manifest.update(x=1), "manifest.v1"),
    "too long a name": (lambda one: one.add("small/" + "a" * 300, b"x"), "too long"),
    "no run in it": (no_run, "holds no run that can be opened"),
    "no lineage in it": (lambda one: one.add("small/lineage.json", b"{}"), "lineage.json: lineage.v1"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_archive_leaves_nothing(kind: str, archive: Path, tmp_path: Path) -> None:
    forge, said = FORGED[kind]
    forged = Forged(archive)
    forge(forged)
    bad = forged.save(tmp_path / "bad.tar.gz")
    ended = command("unpack", bad, "--runs", tmp_path / "runs")
    assert ended.returncode == 1 and ended.stderr.startswith(f"bin/unpack: {bad}: "), ended.stderr
    assert said in ended.stderr and ended.stderr.count("\n") == 1 and "\x1b" not in ended.stderr
    assert list((tmp_path / "runs").iterdir()) == [] and not Path("/tmp/escaped").exists()


def test_an_archive_that_is_only_renamed_is_unpacked(archive: Path, tmp_path: Path) -> None:
    """What the forged ones differ from: the same way of making one, with nothing wrong in it."""
    ended = command("unpack", Forged(archive).save(tmp_path / "good.tar.gz"), "--runs", tmp_path / "runs")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("cut", [0, 10, 100, -100, -1])
def test_a_cut_archive_leaves_nothing(cut: int, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:cut])
    ended = command("unpack", tmp_path / "cut.tar.gz", "--runs", tmp_path / "runs")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_is_no_archive(tmp_path: Path) -> None:
    for data in (b"hello\n", gzip.compress(b"hello\n"), gzip.compress(b"\0" * 20480)):
        (tmp_path / "x").write_bytes(data)
        ended = command("unpack", tmp_path / "x", "--runs", tmp_path / "runs")
        assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    assert command("unpack", tmp_path / "none", "--runs", tmp_path / "runs").returncode == 2


def test_sizes_that_an_archive_only_claims(archive: Path, tmp_path: Path) -> None:
    """A file larger than any disk, and a header larger than memory: neither is read, let alone written."""
    file, header = tarfile.TarInfo("small/big"), tarfile.TarInfo("small/x")
    file.size = 1 << 62
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    top = tarfile.TarInfo("small")
    top.type = tarfile.DIRTYPE
    for member, said in ((file, "more than the disk has room for"), (header, "a header of 1,099,511,627,776 bytes")):
        blocks = b"".join(one.tobuf(tarfile.GNU_FORMAT) for one in (top, member)) + b"\0" * 10240
        (tmp_path / "big.tar.gz").write_bytes(gzip.compress(blocks))
        ended = command("unpack", tmp_path / "big.tar.gz", "--runs", tmp_path / "runs")
        assert ended.returncode == 1 and said in ended.stderr, ended.stderr


def test_a_manifest_proves_every_file(archive: Path) -> None:
    forged = Forged(archive)
    for member, data in forged.members:
        if member.isfile():
            known = forged.manifest["files"].pop(member.name.removeprefix("small/"))
            assert known == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert list(forged.manifest) == ["schema", "run", "machine", "files"] and forged.manifest["files"] == {}


def test_what_follows_the_end_is_not_ignored(archive: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + b"\0" * (3 << 20)))
    ended = command("unpack", bad, "--runs", tmp_path / "runs")
    assert ended.returncode == 1 and "goes on after its end" in ended.stderr


HOLDS = """
import sys
from pathlib import Path
import _staging
with _staging.draft_folder(Path(sys.argv[1]), ".unpack-") as folder:
    folder.mkdir()
    print(folder.parent.name, flush=True)
    sys.stdin.read()
"""


def test_the_next_one_removes_what_a_killed_one_left_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / ".unpack-of-mine").mkdir(parents=True)
    argv = [sys.executable, "-c", HOLDS, str(runs)]
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'bin'}"}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        draft = other.stdout.readline().strip()
        for name, killed in (("while-it-lives", False), ("when-it-is-dead", True)):
            if killed:
                other.kill()
                other.wait(20)
            assert command("unpack", archive, "--runs", runs, "--name", name).returncode == 0
            assert (runs / draft).is_dir() is not killed
    assert sorted(path.name for path in runs.iterdir()) == [".unpack-of-mine", "when-it-is-dead", "while-it-lives"]
