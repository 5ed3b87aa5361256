"""What looks like a secret is found wherever it stands, and what only resembles one is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import _secrets

FORMS = (
    "sk-or-v1-" + "0a" * 32,
    "sk-" + "a1B2" * 12, "sk-proj-" + "Ab1_" * 3 + "Z" * 30, "sk-ant-api03-" + "x9" * 40, "ghp_" + "a" * 36,
    "github_pat_" + "A1" * 20, "glpat-" + "a" * 20, "AKIA" + "ABCD" * 4, "hf_" + "aB" * 17, "AIza" + "a" * 35,
    "nvapi-" + "a" * 64, "gsk_" + "aB3d" * 13, "xai-" + "aB3d" * 20, "xoxb-" + "1234567890-" * 3,
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----",
)  # fmt: skip
TOKEN = "hf_" + "aB" * 17
HARMLESS = (
    "task-" + "a1" * 30, "sk-learn-model-selection-and-more-of-it", "a" * 64, "hf_hub_download_with_a_long_name_indeed",
    "AKIA" + "ABCD" * 8, "BEGIN PRIVATE KEY", "disk-0123456789012345678901234567890",
    "github_pattern_of_many_words_here", "-----BEGIN PUBLIC KEY-----", "xoxo-love-and-so-on-and-so-forth",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["{}", "key={}", '"{}"', "a\\n{}\\n", "({})", "\n\n{}\n"])
def test_found(form: str, around: str) -> None:
    (said,) = _secrets.found_in(around.format(form).encode())
    assert said.startswith(f"line {3 if around[0] == chr(10) else 1}: looks like a")
    assert form not in said


@pytest.mark.parametrize("text", HARMLESS)
def test_not_found(text: str) -> None:
    assert _secrets.found_in(f"x {text} y".encode()) == []


def test_weights_are_searched_too() -> None:
    """A trainer's pickled settings lie beside its weights, and may hold a token."""
    noise = random.Random(1).randbytes(1 << 20)
    assert _secrets.found_in(noise) == []
    (said,) = _secrets.found_in(noise + b"\0\x8c\x25" + TOKEN.encode() + b"\x94" + noise)
    assert "looks like a Hugging Face token" in said


words = st.sampled_from([*FORMS, *HARMLESS, " ", "\n", "a", "\\n", "-", "text " * 90])


@given(st.lists(words, max_size=12), st.integers(1, 700))
def test_blocks_hide_nothing(parts: list[str], size: int) -> None:
    data = "".join(parts).encode()
    scanner = _secrets.Scanner()
    found = [said for at in range(0, len(data), size) for said in scanner.feed(data[at : at + size])]
    assert [*found, *scanner.end()] == _secrets.found_in(data)
