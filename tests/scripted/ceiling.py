"""How much the scripted server takes: so many requests at once, so many a second, none during a burst."""

from __future__ import annotations

from typing import Any


class Ceiling:
    """Says 429 to what is too much. Its clock begins with the first request, so that a slow start shifts nothing."""

    def __init__(self, entries: list[dict[str, Any]], bursts: dict[str, Any] | None) -> None:
        self.entries, self.bursts = sorted(entries, key=lambda one: one.get("from_s", 0)), bursts
        self.at_once = 0  # requests that are being worked on
        self._began: float | None = None
        self._tokens, self._filled, self._entry = 0.0, 0.0, -1

    def take(self, now: float) -> tuple[str, Any] | None:
        """None and a place that `leave` gives back; or (which ceiling, its retry_after) where there is no place."""
        if self._began is None:
            self._began = now
        elapsed = now - self._began
        if (bursts := self.bursts) and elapsed % bursts["every_s"] >= bursts["every_s"] - bursts["for_s"]:
            return "burst", bursts.get("retry_after")
        entry = self._at(elapsed)
        if self.at_once >= entry.get("at_once", self.at_once + 1):
            return "at once", entry.get("retry_after")
        if "per_s" in entry:
            self._fill(entry, elapsed)
            if self._tokens < 1.0:
                return "per second", entry.get("retry_after")
            self._tokens -= 1.0
        self.at_once += 1
        return None

    def leave(self) -> None:
        self.at_once -= 1

    def _at(self, elapsed: float) -> dict[str, Any]:
        at = sum(entry.get("from_s", 0) <= elapsed for entry in self.entries) - 1
        if at != self._entry:  # a new entry begins with a full bucket
            self._entry, self._tokens = at, float("inf")
        return self.entries[at] if at >= 0 else {}

    def _fill(self, entry: dict[str, Any], elapsed: float) -> None:
        """A token bucket: `per_s` a second, up to `bucket` kept (a second's worth, if the script does not say)."""
        filled = self._tokens + (elapsed - self._filled) * entry["per_s"]
        self._tokens, self._filled = min(filled, entry.get("bucket", entry["per_s"])), elapsed
