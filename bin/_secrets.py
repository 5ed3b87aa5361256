"""Find what looks like a secret: keys whose form their issuers chose so that they can be found.

Few kinds and strict forms: a finding stops a pack, so prose, code and hashes must not look like one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KINDS = {
    "an OpenAI or Anthropic key": r"sk-(?:[A-Za-z0-9]{1,20}[-_]){0,8}[A-Za-z0-9]{20}",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{36}",
    "a GitLab token": r"glpat-[A-Za-z0-9_-]{20}",
    "an AWS access key": r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "a Hugging Face token": r"hf_[A-Za-z0-9]{30}",
    "a Google key": r"AIza[A-Za-z0-9_-]{35}",
    "an NVIDIA key": r"nvapi-[A-Za-z0-9_-]{40}",
    "a Slack token": r"xox[abeoprs]-[0-9]{8,20}-[A-Za-z0-9-]{12}",
    "a private key": r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
}
# One pattern, and what all kinds begin with first: a gigabyte is then read at the speed of a search for a few words.
# It begins a word, or follows the end of a line as JSON writes it.
_BEGINS = r"(?=sk-|g[hil]|A|hf|nv|xo|--)(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))"
_ANY = re.compile(f"{_BEGINS}(?:{'|'.join(f'({form})' for form in KINDS.values())})".encode("ascii"))
_NAMES = list(KINDS)
LONGEST = 512  # bytes; no form above is longer, so blocks that overlap by this much hide none
BEFORE = 2  # bytes before a finding that say whether a word begins there
SHOWN = 8  # characters of a finding that are told: enough to find it, too few to use it
_BINARY = b"\0"  # in a file's first block: weights hold all byte sequences sooner or later


class Scanner:
    """Reads a file block by block: `feed` each, and get what looks like a secret, by kind and line, never whole."""

    def __init__(self) -> None:
        self._rest, self._from, self._lines = b"", 0, 1  # `_from`: where in `_rest` the search goes on
        self._begun = self._binary = False

    def feed(self, block: bytes) -> Iterator[str]:
        if not self._begun:
            self._begun, self._binary = True, _BINARY in block
        if self._binary:
            return
        data = self._rest + block
        until = max(self._from, len(data) - LONGEST)  # what begins past this is found whole with the next block
        yield from self._found(data, until)
        cut = max(0, until - BEFORE)
        self._lines += data.count(b"\n", 0, cut)
        self._rest, self._from = data[cut:], until - cut

    def end(self) -> Iterator[str]:
        """What the last bytes hold; call once, after the last block."""
        if not self._binary:
            yield from self._found(self._rest, len(self._rest))

    def _found(self, data: bytes, until: int) -> Iterator[str]:
        for match in _ANY.finditer(data, self._from):
            if match.start() >= until:
                break
            kind = _NAMES[(match.lastindex or 1) - 1]
            line = self._lines + data.count(b"\n", 0, match.start())
            yield f"line {line}: looks like {kind} ({match[0][:SHOWN].decode('ascii')}…)"


def found_in(data: bytes) -> list[str]:
    """What looks like a secret in some bytes."""
    scanner = Scanner()
    return [*scanner.feed(data), *scanner.end()]
