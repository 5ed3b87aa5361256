"""Whom each role asks on this machine, and at which price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents._config import Config
from agents.models.profile import PRICES_NAME, Profile, Role, chain, priced_on, profiles, roles


@dataclass(frozen=True)
class Who:
    """Whom a role asks here: the profile, and where its price is from ("" where nobody knows it)."""

    role: Role
    profile: Profile
    price_from: str


def asked(config: Config, goal: Mapping[str, float]) -> dict[str, Who]:
    """Whom each role asks here, by role; a role that is done without a model is left out. `goal`: its own budget.

    While a dollar budget stands, the first profile with a price answers, as the `llm` agent has it.
    """
    enabled, found = profiles(config.infra, goal), {}
    budget = config.infra["budget"] or {}
    every = (goal, budget, budget.get("call") or {}, *(budget.get("steps") or {}).values())
    dollars = any("usd" in one for one in every)
    for name, role in roles(config.roles).items():
        able = chain(role, enabled)
        if able:
            one = next((each for each in able if each.price), able[0]) if dollars else able[0]
            own = "price" in config.infra["models"][one.name] and config.infra["models"][one.name]["price"] is not None
            where = "config/infra.yaml" if own else f"{PRICES_NAME} of {priced_on()}" if one.price else ""
            found[name] = Who(role, one, where)
    return found
