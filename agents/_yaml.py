"""YAML that people write: read it, refuse keys that are not known, and say what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """A config file that cannot be used; one line: where, what, what to do."""


def near(given: str, known: Sequence[str]) -> str:
    """What may have been meant by a word that is not known."""
    near = difflib.get_close_matches(given, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"


def known_keys(given: Any, known: tuple[str, ...], where: str) -> None:
    """Raise ConfigError, with a did-you-mean, if a mapping has a key that is not known."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: must be a mapping of {', '.join(known)}")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {near(str(key), known)}")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file; raises ConfigError with the line of a mistake."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; name the folder with --config") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping")
    return document
