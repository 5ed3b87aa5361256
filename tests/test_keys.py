"""Keys are read from where they are safe, and blotted out of everything in whatever form."""

import base64
import json
import os
import signal
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models.keys import BLOT, Blotter, NoKey, guard_memory, key_of
from agents.models.profile import Profile
from agents.sandbox.syscalls import PR_SET_DUMPABLE, prctl
from tests import small

KEY = "sk-or-v1-0123456789abcdefFEDCBA+/=98765"


def profile(**key: str) -> Profile:
    return Profile("one", "https://models.example/v1", "m", **key)


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    assert key_of(profile(key_env="SOME_KEY")) == KEY and key_of(profile()) == ""
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(NoKey, match="models: one: SOME_KEY is not set; export it"):
        key_of(profile(key_env="SOME_KEY"))


def test_from_a_file_that_nobody_else_may_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    assert key_of(profile(key_file=str(path))) == KEY
    path.chmod(0o640)
    with pytest.raises(NoKey, match=r"others may read it; chmod 600 "):
        key_of(profile(key_file=str(path)))
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(NoKey, match="is a symbolic link"):
        key_of(profile(key_file=str(tmp_path / "link")))
    with pytest.raises(NoKey, match="No such file"):
        key_of(profile(key_file=str(tmp_path / "none")))


@pytest.mark.parametrize("bad", ["short", "two words here", "ключключ", "x\x00yyyyyyy"], ids=repr)
def test_what_is_no_key_is_refused_and_not_told(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "key"
    path.write_text(bad)
    path.chmod(0o600)
    with pytest.raises(NoKey, match="holds no key") as error:
        key_of(profile(key_file=str(path)))
    assert bad not in str(error.value)


@given(before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_every_form_is_blotted_out(before: bytes, after: bytes) -> None:
    data, blotter = before + KEY.encode() + after, Blotter([KEY])
    for text in (
        f"a {KEY} b",
        f"Bearer {KEY}",
        json.dumps({"k": f"{KEY}"}),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        urllib.parse.quote(KEY, safe=""),
        data.hex(),
        data.hex().upper(),
        KEY[::-1],
        "".join(f"\\u{ord(one):04x}" for one in KEY),
        json.dumps("".join(f"\\u{ord(one):04X}" for one in KEY)),
    ):
        assert text != blotter.clean(text) and BLOT in blotter.clean(text)
        for form in blotter.forms:
            assert form not in blotter.clean(text)


def test_documents_are_blotted_out_in_depth() -> None:
    document = {KEY: [{"text": f"my key is {KEY}", "n": 1}, None, KEY]}
    clean = Blotter([KEY, ""]).clean(document)
    assert KEY not in json.dumps(clean) and clean == {BLOT: [{"text": f"my key is {BLOT}", "n": 1}, None, BLOT]}


def test_without_keys_nothing_changes() -> None:
    assert Blotter([]).clean({"a": "b"}) == {"a": "b"} and os.environ


@pytest.mark.parametrize("guarded", [False, True])
def test_a_process_that_guards_its_memory_shows_its_environment_to_none_of_its_user(guarded: bool) -> None:
    """Both ends are forked, and are nobody where this is run by root, who may look everywhere."""
    ready, tell = os.pipe()
    holder = os.fork()
    if holder == 0:
        become_nobody()
        if guarded:
            guard_memory()
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    looker = os.fork()
    if looker == 0:
        become_nobody()
        try:
            seen = bool(Path(f"/proc/{holder}/environ").read_bytes())
        except OSError:
            seen = False
        os._exit(seen)
    seen = os.waitstatus_to_exitcode(os.waitpid(looker, 0)[1])
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert seen == (not guarded)


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.setuid(65534)
        prctl(PR_SET_DUMPABLE, 1)  # which a change of user has taken


def test_a_profile_whose_key_is_not_there_is_told_before_a_run_begins(tmp_path: Path) -> None:
    (tmp_path / "infra.yaml").write_text(
        "budget: {usd: 5, models: [one]}\n"
        "models: {one: {endpoint: https://models.example/v1, model: m, key_env: NO_SUCH_KEY_HERE}}\n"
    )
    (tmp_path / "swarm.yaml").write_text("flow: {}\n")
    ended = small.command(
        "pipeline", small.ROOT / "goals/gpu-ops.md", "--config", tmp_path, "--runs", tmp_path / "runs"
    )
    assert ended.returncode == 2 and "models: one: NO_SUCH_KEY_HERE is not set; export it" in ended.stderr
    assert not (tmp_path / "runs").exists()
