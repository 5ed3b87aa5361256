"""Model endpoints and who uses them: `models:` of infra.yaml, `roles:` of swarm.yaml, checked and resolved.

A profile is enabled once it has an endpoint and, where it needs a key, `budget: {models: [NAME]}` names it, `budget:
usd` is above 0, and the goal's own is not 0. A role takes its preferred profile if that is enabled and can do what the
role needs, else the first of its fallbacks that is and can; a role that is left with none is done without a model.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PRICES = Path(__file__).with_name("prices.json")
PRICES_NAME = "agents/models/prices.json"  # as people are told
CAPABILITIES = ("json_schema", "json_object")
PROFILE_KEYS = (
    *("endpoint", "model", "key_env", "key_file", "capabilities", "context", "max_output", "price", "concurrency"),
    "timeout_s",
)
ROLE_KEYS = ("needs", "prefer", "fallback", "max_tokens", "temperature", "by_hand")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")  # as shells have them
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})  # where no transport needs to be secret
MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """USD per million tokens; `cached` is what input costs that the provider still had."""

    input: float
    output: float
    cached: float | None = None

    def usd(self, input: int, output: int, cached: int = 0) -> float:
        """Dollars for so many tokens, `cached` of the input ones at their own price."""
        dear = self.input * (input - cached) + (self.input if self.cached is None else self.cached) * cached
        return (dear + self.output * output) / MILLION

    def most(self, input: int, output: int) -> float:
        """Dollars for so many tokens at the most: some providers take more for input that they then keep."""
        return max(self.usd(input, output), self.usd(input, output, input))


@dataclass(frozen=True)
class Profile:
    """One model behind one endpoint, as infra.yaml describes it."""

    name: str
    endpoint: str
    model: str
    key_env: str = ""
    key_file: str = ""
    capabilities: frozenset[str] = frozenset()
    context: int = 32768  # tokens of question and answer
    max_output: int = 8192  # tokens of an answer
    price: Price | None = None
    concurrency: int = 8  # the most requests at once
    timeout_s: float = 120.0

    @property
    def needs_key(self) -> bool:
        return bool(self.key_env or self.key_file)


@dataclass(frozen=True)
class Role:
    """What a kind of question needs from a model, and whom to ask in which order."""

    name: str
    needs: frozenset[str] = frozenset()
    chain: tuple[str, ...] = ()
    max_tokens: int = 2048
    temperature: float = 0.7


def problem(given: Mapping[str, Any]) -> str:
    """What is wrong with one entry of `models:`, in a few words; "" if nothing is."""
    if wrong := _endpoint_problem(given.get("endpoint"), bool(given.keys() & {"key_env", "key_file"})):
        return wrong
    if not isinstance(given.get("model"), str) or not given["model"]:
        return "model: is missing; write the name that the endpoint knows it by"
    if not VARIABLE.fullmatch(str(given.get("key_env") or "KEY")):  # perhaps the key itself, so it is not told
        return "key_env: must be the name of an environment variable, like OPENROUTER_API_KEY, and never the key"
    if not str(given.get("key_file") or "/").startswith(("/", "~/")):  # it is read, and hidden, from several folders
        return "key_file: must be the path of a file, from / or ~/ on, and never the key"
    for key in ("context", "max_output", "concurrency", "timeout_s"):
        value = given.get(key, 1)
        whole = key != "timeout_s"
        if isinstance(value, bool) or not isinstance(value, int | float) or not whole <= value < 10**9 or not value:
            return f"{key}: {value!r} is not a {'whole ' * whole}number above 0"
    if not isinstance(can := given.get("capabilities") or [], list):
        return "capabilities: must be a list, like [json_schema]"
    if unknown := set(map(str, can)) - set(CAPABILITIES):
        return f"capabilities: {', '.join(sorted(unknown))} not known; known are {', '.join(CAPABILITIES)}"
    return _price_problem(given.get("price"))


def _endpoint_problem(endpoint: Any, keyed: bool) -> str:
    """What is wrong with an address; it is quoted only once it is known to hold no password."""
    if endpoint is None:
        return ""
    text = str(endpoint)
    host = text.partition("//")[2].partition("/")[0]
    if "@" in host or set(text) & set("?#\\"):  # looked for by hand: what cannot be taken apart may hold a key, too
        return "endpoint: holds more than an address; a key belongs into the environment, see key_env"
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # half of an IPv6 address, a port past 65,535
        whole = False
    if not whole or not isinstance(endpoint, str) or not text.isprintable() or " " in text:
        return f"endpoint: {endpoint!r} is no URL; write it like http://127.0.0.1:8080/v1"
    if parts.scheme == "http" and parts.hostname not in LOCAL and keyed:
        return "endpoint: http would send the key readable; write https"
    return ""


def _price_problem(price: Any) -> str:
    if price is None:
        return ""
    if not isinstance(price, Mapping) or not {"input", "output"} <= price.keys() <= {"input", "output", "cached"}:
        return "price: write {input: 0.1, output: 0.4} in USD per million tokens, and `cached` if that has its own"
    for value in price.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            return "price: must be numbers of 0 or more"
    return ""


def profiles(infra: Mapping[str, Any], goal: Mapping[str, float] | None = None) -> dict[str, Profile]:
    """The enabled profiles of a checked infra.yaml, by name; `goal`: the budget of the goal that they are for."""
    budget, found = infra.get("budget") or {}, {}
    may_pay = float(budget.get("usd") or 0) > 0 and float((goal or {}).get("usd", 1)) > 0
    paid = frozenset(budget.get("models") or ()) if may_pay else frozenset()
    for name, given in (infra.get("models") or {}).items():
        if not given.get("endpoint"):
            continue
        fields = {key: value for key, value in given.items() if value is not None}
        fields["capabilities"] = frozenset(given.get("capabilities") or ())
        for key in ("context", "max_output", "concurrency"):
            if key in fields:
                fields[key] = int(fields[key])
        fields["price"] = Price(**fields["price"]) if "price" in fields else listed(given["endpoint"], given["model"])
        profile = Profile(name, **fields)
        if name in paid or not profile.needs_key:
            found[name] = profile
    return found


def roles(swarm: Mapping[str, Mapping[str, Any]]) -> dict[str, Role]:
    """The roles of a checked swarm.yaml, by name."""
    return {
        name: Role(
            name,
            frozenset(given.get("needs") or ()),
            tuple(dict.fromkeys([*([given["prefer"]] if given.get("prefer") else []), *(given.get("fallback") or ())])),
            int(given.get("max_tokens", Role.max_tokens)),
            float(given.get("temperature", Role.temperature)),
        )
        for name, given in swarm.items()
    }


def chain(role: Role, enabled: Mapping[str, Profile]) -> list[Profile]:
    """The profiles that may answer a role, in the order in which they are asked; empty: do without a model."""
    known = [enabled[name] for name in role.chain if name in enabled]
    return [one for one in known if role.needs <= one.capabilities]


@functools.cache
def _table() -> dict[str, Any]:
    return dict(json.loads(PRICES.read_bytes()))


def priced_on() -> str:
    """The date of the table of prices, YYYY-MM-DD."""
    return str(_table()["as_of"])


def listed(endpoint: str, model: str) -> Price | None:
    """A model's price in the dated table beside this file, by the endpoint's host and the exact name; None: unknown."""
    price = _table()["hosts"].get(urlsplit(endpoint).hostname or "", {}).get(model)
    return Price(**price) if price else None
