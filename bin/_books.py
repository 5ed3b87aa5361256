"""Prove the books of an `llm` mailbox: each line of its ledger, and that it knows what each reply cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from _tree import Finding
from agents._ask import REPLAY, SERVICE
from agents.models.ledger import NAME
from bus import files

WHERE = f"{SERVICE}/{NAME}"
FIRST = b'{"n":'  # how a line begins: of one that does not, the first bytes were changed
KEYS = {
    "reserve": {"call": str, "step": str, "profile": str, "usd": float | int, "tokens": int},
    "settle": {"call": str, "usd": float | int | None, "tokens": int},
}


class Books:
    """One look at a mailbox's books; give it every reply before `findings()`, as the ledger is written before them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: dict[str, list[float | None]] = {}  # call: dollars of each attempt that its reply tells of
        self._open: dict[int, Mapping[str, Any]] = {}
        self._settled: dict[str, list[float | None]] = defaultdict(list)
        self._last = 0

    def reply(self, id: str, reply: Mapping[str, Any]) -> Iterator[Finding]:
        """Take note of a reply; whether its own sum is right."""
        paid = self._told[id] = [one["usd"] for one in reply["attempts"]]
        total = None if None in paid else round(sum(one or 0.0 for one in paid), 9)
        if total != reply["usd"]:
            said = f"says usd {reply['usd']}, and its attempts come to {total}"
            yield Finding(f"{SERVICE}/outbox/{id}.json", f"{said}; restore it, or remove it and ask again")

    def findings(self) -> Iterator[Finding]:
        yield from self._ledger()
        yield from self._replay()
        lost = Counter(line["call"] for line in self._open.values())
        for id, told in self._told.items():
            unknown = list((Counter(told) - Counter(self._settled.get(id, []))).elements())
            if len(unknown) <= lost[id] or (id not in self._settled and (self.folder / REPLAY).exists()):
                continue  # its settlement was lost with the power, and stays spent; or another run has paid it
            usd = sum(one or 0.0 for one in unknown)
            where = f"{SERVICE}/outbox/{id}.json"
            yield Finding(where, f"cost ${usd:.6g} by attempts that {WHERE} does not know; restore that")

    def _ledger(self) -> Iterator[Finding]:
        try:
            descriptor = files.open_regular(self.folder / NAME)
        except FileNotFoundError:
            return
        except (OSError, files.BadFile) as error:
            yield Finding(WHERE, f"{str(error).replace(f'{self.folder / NAME}: ', '')}; restore it")
            return
        with open(descriptor, "rb") as file:
            for number, line in enumerate(file, 1):
                if what := line != b"\n" and self._wrong(line):
                    torn = not line.endswith(b"}\n") and FIRST.startswith(line[: len(FIRST)].rstrip(b"\n"))
                    said = "is torn: whoever wrote it was killed" if torn else f"{what}; restore the file"
                    yield Finding(f"{WHERE} line {number}", said, harm=not torn)

    def _wrong(self, text: bytes) -> str:
        """What is wrong with one line, in words; "" if it fits all before it, and is booked."""
        try:
            line = files.parse(text, "it")
        except files.BadFile as error:
            return str(error)
        keys = KEYS.get(str(line.get("event"))) if isinstance(line, dict) else None
        if keys is None or type(line.get("n")) is not int:
            return "is no line of a ledger"
        for key, kind in keys.items():
            value = line.get(key, ...)
            if not isinstance(value, kind) or (isinstance(value, int | float) and value < 0):
                return f"{key}: {line.get(key)!r} cannot be"
        return self._reserve(line) if line["event"] == "reserve" else self._settle(line)

    def _reserve(self, line: Mapping[str, Any]) -> str:
        before, self._last = self._last, max(self._last, line["n"])
        self._open[line["n"]] = line
        return f"is number {line['n']}, after {before}" if line["n"] <= before else ""

    def _settle(self, line: Mapping[str, Any]) -> str:
        made = self._open.pop(line["n"], None)
        self._settled[line["call"]].append(line["usd"])
        if made is None:
            return f"settles number {line['n']}, which is not reserved, or is settled already"
        if made["call"] != line["call"]:
            return f"settles number {line['n']} for call {line['call']}; it was reserved for {made['call']}"
        return ""

    def _replay(self) -> Iterator[Finding]:
        path = self.folder / REPLAY
        try:
            marker = files.read_json(path)
        except FileNotFoundError:
            return
        except (OSError, files.BadFile) as error:
            yield Finding(f"{SERVICE}/{REPLAY}", f"{str(error).replace(f'{path}: ', '')}; replay again")
            return
        profiles = marker.get("profiles") if isinstance(marker, dict) else None
        lost, of = (marker.get("lost"), marker.get("of", "")) if isinstance(marker, dict) else (None, None)
        if not (isinstance(profiles, dict) and isinstance(lost, list) and isinstance(of, str)):
            yield Finding(f"{SERVICE}/{REPLAY}", "is not {profiles, lost}; replay again")
