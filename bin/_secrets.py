"""Find what looks like a secret: keys whose form their issuers chose so that they can be found, and keys of our own.

Few kinds and strict forms: a finding stops a pack, so prose, code and hashes must not look like one. The keys that this
machine's own models use may have any form: they are looked for as they are, and as they may be encoded.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents import _config
from agents.models.keys import NoKey, forms_of, key_of
from agents.models.profile import profiles

# kind -> (what it begins with, the whole form). A search for a few words first: twice as fast as one for all forms.
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "an OpenAI or Anthropic key": (("sk-",), r"sk-(?:[A-Za-z0-9]{1,20}[-_]){0,8}[A-Za-z0-9]{20}"),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{36}",
    ),
    "a GitLab token": (("glpat-",), r"glpat-[A-Za-z0-9_-]{20}"),
    "an AWS access key": (("AKIA", "ASIA"), r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "a Hugging Face token": (("hf_",), r"hf_[A-Za-z0-9]{30}"),
    "a Google key": (("AIza",), r"AIza[A-Za-z0-9_-]{35}"),
    "an NVIDIA key": (("nvapi-",), r"nvapi-[A-Za-z0-9_-]{40}"),
    "a Groq key": (("gsk_",), r"gsk_[A-Za-z0-9]{40}"),
    "an xAI key": (("xai-",), r"xai-[A-Za-z0-9]{60}"),
    "a Slack token": (("xox",), r"xox[abeoprs]-[0-9]{8,20}-[A-Za-z0-9-]{12}"),
    "a private key": (("-----BEGIN ",), r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
}
# It begins a word, or follows the end of a line as JSON writes it.
_BEGINS = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))"
_FORMS = [
    (first.encode("ascii"), re.compile(f"{_BEGINS}(?:{form})".encode("ascii")), kind)
    for kind, (firsts, form) in KINDS.items()
    for first in firsts
]
LONGEST = 512  # bytes; no form above is longer, so blocks that overlap by this much hide none
BEFORE = 2  # bytes before a finding that say whether a word begins there
_WHOLE = [re.compile(form.pattern + rb"[A-Za-z0-9_-]*") for _, form, _ in _FORMS]  # to the end of the word, to hide it
SHOWN = 8  # characters of a finding that are told: enough to find it, too few to use it


def own_keys(config: Path) -> list[bytes]:
    """Every form of the keys of a config folder's enabled profiles, as far as they can be had here; ConfigError."""
    found: set[str] = set()
    for profile in profiles(_config.load(config).infra).values():
        with contextlib.suppress(NoKey):  # which is not set in this shell, or lies on another machine
            found |= forms_of(key) if (key := key_of(profile)) else set()
    return sorted(form.encode("ascii") for form in found)


class Scanner:
    """Reads a file block by block: `feed` each, and get what looks like a secret, by kind and line, never whole.

    Weights are searched too: what trained them may have written its settings, and so a token, among them.
    """

    def __init__(self, own: Sequence[bytes] = ()) -> None:
        """`own`: what `own_keys` returned."""
        self._rest, self._from, self._lines = b"", 0, 1  # `_from`: where in `_rest` the search goes on
        self._own, self._longest = own, max([LONGEST, *map(len, own)])

    def feed(self, block: bytes) -> Iterator[str]:
        data = self._rest + block
        until = max(self._from, len(data) - self._longest)  # what begins past this is found whole with the next block
        yield from self._found(data, until)
        cut = max(0, until - BEFORE)
        self._lines += data.count(b"\n", 0, cut)
        self._rest, self._from = data[cut:], until - cut

    def end(self) -> Iterator[str]:
        """What the last bytes hold; call once, after the last block."""
        yield from self._found(self._rest, len(self._rest))

    def _found(self, data: bytes, until: int) -> Iterator[str]:
        found = []
        for own in self._own:
            at = data.find(own, self._from)
            while 0 <= at < until:
                found.append((at, "a key that config/infra.yaml uses", ""))
                at = data.find(own, at + len(own))
        for first, form, kind in _FORMS:
            at = data.find(first, self._from)
            while 0 <= at < until:
                if match := form.match(data, at):
                    found.append((at, kind, match[0][:SHOWN].decode("ascii")))
                at = data.find(first, at + 1)
        for at, kind, shown in sorted(found):
            line = self._lines + data.count(b"\n", 0, at)
            yield f"line {line}: looks like {kind} ({shown}…)" if shown else f"line {line}: holds {kind}"


def found_in(data: bytes, own: Sequence[bytes] = ()) -> list[str]:
    """What looks like a secret in some bytes, and where one of `own` stands in them."""
    scanner = Scanner(own)
    return [*scanner.feed(data), *scanner.end()]


def new_in_name(name: str, own: Sequence[bytes] = ()) -> list[str]:
    """What looks like a secret in a file's name, but for what the name of its folder holds: that is told by itself."""
    found = found_in(os.fsencode(name), own)
    if found:
        found = found[len(found_in(os.fsencode(os.path.dirname(name)), own)) :]
    return [said.partition(": ")[2] for said in found]


def masked(text: str, own: Sequence[bytes] = ()) -> str:
    """`text` without what looks like a secret in it, or is one of `own`: a line that is told may name a file."""
    data = text.encode("utf-8", "surrogatepass")
    for key in sorted(own, key=len, reverse=True):
        data = data.replace(key, "…".encode())
    for (first, _, _), whole in zip(_FORMS, _WHOLE, strict=True):
        if first in data:
            data = whole.sub(lambda match: match[0][:SHOWN] + "…".encode(), data)
    return data.decode("utf-8", "surrogatepass")
