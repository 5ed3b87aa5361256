"""Keys: read by the `llm` agent alone, sent to their own endpoint alone, and blotted out of all that is written."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import stat
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.models.profile import Profile
from bus import files

BLOT = "[key]"
LEAST = 8  # characters; what is shorter is no key, and blotting it out would tear words apart
MAX_KEY = 4096  # bytes of a key file
PR_SET_DUMPABLE = 4  # <sys/prctl.h>


class NoKey(Exception):
    """A key that is not there or not safe where it is; one line: where, what, what to do. It never holds the key."""


def guard_memory() -> None:
    """Let no core be made of this process, and none of the same user look into it: it holds keys, or may hand them on.

    It holds until the next exec. Root looks nevertheless, unless it runs apart (agents/sandbox/apart.py).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # also where cores go to a program, which no limit stops


def key_files(infra: Mapping[str, Any]) -> list[Path]:
    """The key files that any profile of a checked infra.yaml names, enabled or not: others see them empty."""
    named = (given.get("key_file") for given in (infra.get("models") or {}).values())
    return [Path(one).expanduser() for one in named if one]


def key_variables(enabled: Iterable[Profile]) -> dict[str, str]:
    """What of this process's environment the `llm` agent needs for the keys of these profiles, and no other process."""
    return {one.key_env: os.environ[one.key_env] for one in enabled if one.key_env in os.environ}


def key_of(profile: Profile) -> str:
    """The key of a profile, from its environment variable or its file; "" for one that needs none; raises NoKey."""
    if profile.key_env:
        key, where = os.environ.get(profile.key_env, "").strip(), profile.key_env
        if not key:
            raise _no_key(profile, f"{where} is not set; export it before the run is started")
    elif profile.key_file:
        where, descriptor = profile.key_file, _opened(profile)
        try:
            key = os.read(descriptor, MAX_KEY).decode("utf-8", "replace").strip()
        finally:
            os.close(descriptor)
    else:
        return ""
    if len(key) < LEAST or not key.isascii() or not key.isprintable() or " " in key:
        raise _no_key(profile, f"{where} holds no key; give it one of {LEAST} or more plain characters")
    return key


def _opened(profile: Profile) -> int:
    """A descriptor of a profile's key file, which nobody else may read; raises NoKey."""
    path = Path(profile.key_file).expanduser()
    try:
        descriptor = files.open_regular(path)
    except OSError as error:
        raise _no_key(profile, f"{path}: {error.strerror}; see key_file in config/infra.yaml") from None
    except files.BadFile as error:
        raise _no_key(profile, str(error)) from None
    status = os.fstat(descriptor)
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise _no_key(profile, f"{path}: others may read it; chmod 600 {path}")
    return descriptor


def _no_key(profile: Profile, why: str) -> NoKey:
    return NoKey(f"models: {profile.name}: {why}, or take {profile.name} out of `budget: {{models: …}}`")


def lacking(enabled: Iterable[Profile]) -> str:
    """Which enabled profile has no key on this machine, in a line; "" if none. No key is read from a file for it."""
    for one in enabled:
        try:
            if one.key_env:
                key_of(one)
            elif one.key_file:
                os.close(_opened(one))
        except NoKey as error:
            return str(error)
    return ""


class Blotter:
    """Replaces keys, as they are and in the forms that servers and libraries give them, in whatever is written."""

    def __init__(self, keys: Iterable[str]) -> None:
        forms = {form for key in keys if key for form in forms_of(key)}
        self.forms = sorted(forms, key=len, reverse=True)  # a longer form first, or its rest would stay

    def clean(self, value: Any) -> Any:
        """The same document, or bytes, with every key in its texts, keys of mappings included, blotted out."""
        if isinstance(value, bytes):
            return str(self.clean(value.decode("latin-1"))).encode("latin-1")
        if isinstance(value, str):
            for form in self.forms:
                value = value.replace(form, BLOT)
            return value
        if isinstance(value, dict):
            return {self.clean(key): self.clean(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.clean(one) for one in value]
        return value


def forms_of(key: str) -> set[str]:
    """A key and its encodings: percent, base64 at each of its three alignments, hex, reversed, escaped for JSON."""
    data = key.encode()
    found = {key, key[::-1], urllib.parse.quote(key, safe=""), urllib.parse.quote(key), data.hex(), data.hex().upper()}
    for digits in ("04x", "04X"):
        found.add("".join(f"\\u{ord(one):{digits}}" for one in key))
    found |= {json.dumps(form)[1:-1] for form in found}
    found |= {form.replace("/", "\\/") for form in found}  # as some servers write it
    for lead in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(_certain(encode(b"\0" * lead + data).decode("ascii"), lead, len(data)))
    return {form for form in found if len(form) >= LEAST}


def _certain(text: str, lead: int, length: int) -> str:
    """The characters of a base64 text that `length` bytes after `lead` make alone, whatever stands around them."""
    return text[-(-8 * lead // 6) : 8 * (lead + length) // 6]
