"""Mend a script's text against the installed libraries, in one pass of all rules, without running it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agents.mending import adapters, attributes, columns, configs, formatting, imports, keywords, notebook, overrides
from agents.mending.installed import Installed
from agents.mending.script import Script
from agents.mending.splice import Change, Mend, Text

Rule = Callable[[Script, Installed], Iterator[Mend]]
# Imports first: under its new name a callable's keywords can be looked up.
RULES: tuple[Rule, ...] = (
    imports.mends,
    keywords.mends,
    configs.mends,
    adapters.mends,
    overrides.mends,
    attributes.mends,
    formatting.mends,
    columns.mends,
)
MAX_ROUNDS = 50  # mends that overlap wait for the next round; more than a script has keywords would be a loop


def mend_source(text: str, installed: Installed) -> tuple[str, list[Change]]:
    """Return the mended text and what was changed, by line of the original; the text itself where it is no Python.

    Deterministic, no model asked, nothing of the script run. Every round's text is parsed before it is taken.
    """
    plain, changes = notebook.plain(text)
    try:
        current = Text(plain)
        script = Script(current)
    except (SyntaxError, ValueError):
        return text, []
    for _ in range(MAX_ROUNDS):
        mends = [mend for rule in RULES for mend in rule(script, installed)]
        if not mends:
            break
        current, script, made = _applied(current, script, mends)
        if not made:
            break
        changes += made
    return current.data.decode("utf-8"), sorted(changes, key=lambda one: one.line)


def _applied(text: Text, script: Script, mends: list[Mend]) -> tuple[Text, Script, list[Change]]:
    """Apply mends; where the result is no Python, one by one without those that break it."""
    after, made = text.apply(mends)
    try:
        return after, Script(after), made
    except (SyntaxError, ValueError):
        if len(mends) == 1:
            return text, script, []
    for mend in mends:
        after, now, made = _applied(text, script, [mend])
        if made:
            return after, now, made
    return text, script, []
