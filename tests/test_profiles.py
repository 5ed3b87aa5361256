"""Which profiles are enabled, what they cost, whom a role asks, and what a wrong config says."""

from pathlib import Path

import pytest
import yaml

from agents import _config, _roles
from agents.models.profile import Price, chain, listed, profiles, roles

PAID = {
    "endpoint": "https://models.example/v1",
    "model": "m",
    "key_env": "SOME_KEY",
    "price": {"input": 1, "output": 2},
}
OWN = {"endpoint": "http://127.0.0.1:8000/v1", "model": "m", "price": {"input": 0, "output": 0}}


def config(tmp_path: Path, infra: dict, roles: dict | None = None) -> _config.Config:
    (tmp_path / "infra.yaml").write_text(yaml.safe_dump(infra))
    (tmp_path / "swarm.yaml").write_text(yaml.safe_dump({"flow": {}, "roles": roles or {}}))
    return _config.load(tmp_path)


@pytest.mark.parametrize(
    ("budget", "enabled"),
    [
        ({"usd": 0, "models": []}, ["own"]),
        ({"usd": 5, "models": []}, ["own"]),
        ({"usd": 0, "models": ["paid"]}, ["own"]),
        ({"usd": 5, "models": ["paid"]}, ["own", "paid"]),
        ({"models": ["paid"]}, ["own"]),  # no budget is no leave to spend
    ],
    ids=str,
)
def test_a_key_is_used_only_where_it_is_named_and_money_is_given(tmp_path: Path, budget: dict, enabled: list) -> None:
    models = {"paid": PAID, "own": OWN, "off": {**OWN, "endpoint": None}}
    assert sorted(profiles(config(tmp_path, {"models": models, "budget": budget}).infra)) == enabled


def test_a_goal_that_gives_no_money_keeps_the_key_from_being_read(tmp_path: Path) -> None:
    infra = config(tmp_path, {"models": {"paid": PAID, "own": OWN}, "budget": {"usd": 5, "models": ["paid"]}}).infra
    assert sorted(profiles(infra, {"wall_hours": 1})) == sorted(profiles(infra, {"usd": 1})) == ["own", "paid"]
    assert sorted(profiles(infra, {"usd": 0})) == ["own"]


def test_as_shipped_no_profile_is_enabled() -> None:
    shipped = _config.load()
    assert profiles(shipped.infra) == {} and shipped.infra["budget"]["usd"] == 0
    assert all(role.chain for role in roles(shipped.roles).values())


def test_one_changed_line_enables_the_hosted_profile(tmp_path: Path) -> None:
    text = (_config.FOLDER / "infra.yaml").read_text()
    changed = text.replace("budget: {usd: 0, models: []}", "budget: {usd: 5, models: [openrouter]}")
    assert sum(a != b for a, b in zip(text.splitlines(), changed.splitlines(), strict=True)) == 1
    enabled = profiles(config(tmp_path, yaml.safe_load(changed)).infra)
    assert list(enabled) == ["openrouter"] and enabled["openrouter"].price is not None


def test_one_changed_line_enables_a_server_of_ones_own(tmp_path: Path) -> None:
    lines = (_config.FOLDER / "infra.yaml").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("    endpoint:  ") and "127.0.0.1" in line)
    lines[at] = "    endpoint: http://127.0.0.1:8000/v1"
    assert list(profiles(config(tmp_path, yaml.safe_load("\n".join(lines))).infra)) == ["local"]


def test_a_role_asks_the_preferred_then_the_fallbacks_that_can_do_it(tmp_path: Path) -> None:
    models = {name: {**OWN, "capabilities": can} for name, can in (("a", []), ("b", ["json_schema"]), ("c", []))}
    wanted = {
        "judge": {"needs": ["json_schema"], "prefer": "a", "fallback": ["b", "c"]},
        "any": {"prefer": "c", "fallback": ["a"], "by_hand": True},
    }
    loaded = config(tmp_path, {"models": models}, wanted)
    enabled, known = profiles(loaded.infra), roles(loaded.roles)
    assert [one.name for one in chain(known["judge"], enabled)] == ["b"]
    assert [one.name for one in chain(known["any"], enabled)] == ["c", "a"]


def test_prices_are_the_users_own_or_listed_or_unknown(tmp_path: Path) -> None:
    models = {"own": {**OWN, "price": {"input": 1, "output": 10, "cached": 0.5}}}
    price = profiles(config(tmp_path, {"models": models}).infra)["own"].price
    assert price == Price(1, 10, 0.5) and price.usd(1_000_000, 100_000, 400_000) == pytest.approx(0.6 + 0.2 + 1.0)
    assert Price(1, 10, 1.25).most(1_000_000, 100_000) == pytest.approx(1.25 + 1.0)  # kept input may cost more
    assert listed("https://openrouter.ai/api/v1", "qwen/qwen3-next-80b-a3b-instruct") is not None
    assert listed("https://openrouter.ai/api/v1", "nobody/knows") is None
    assert listed("https://models.example/v1", "qwen/qwen3-next-80b-a3b-instruct") is None


@pytest.mark.parametrize(
    ("infra", "told"),
    [
        ({"models": {"a": {**OWN, "modle": "x"}}}, r"models: a: unknown key 'modle'; did you mean model\?"),
        ({"models": {"a": {"endpoint": "localhost"}}}, r"models: a: endpoint: 'localhost' is no URL"),
        (
            {"models": {"a": {**PAID, "endpoint": "http://models.example/v1"}}},
            "a: endpoint: http would send the key readable",
        ),
        (
            {"models": {"a": {**OWN, "endpoint": "http://me:secret@127.0.0.1/v1"}}},
            "a: endpoint: holds more than an address",
        ),
        ({"models": {"a": {"endpoint": None}}}, "models: a: model: is missing"),
        ({"models": {"a": {**OWN, "price": {"input": 1}}}}, "models: a: price: write"),
        *(
            (
                {"models": {"a": {**OWN, "endpoint": f"{one}secret@127.0.0.1/v1"}}},
                "a: endpoint: holds more than an addr",
            )
            for one in ("https://:", "https://", "http://[::1:", "ftp://me:")
        ),
        ({"models": {"a": {**OWN, "endpoint": "http://[::1"}}}, r"a: endpoint: 'http://\[::1' is no URL"),
        ({"models": {"a": {**OWN, "endpoint": "http://127.0.0.1:99999/v1"}}}, "a: endpoint: .* is no URL"),
        ({"models": {"a": {**OWN, "endpoint": "http://127.0.0.1:8000 /v1"}}}, "a: endpoint: .* is no URL"),
        ({"models": {"a": {**OWN, "concurrency": 0}}}, "models: a: concurrency: 0 is not a whole number above 0"),
        ({"models": {"a": {**OWN, "concurrency": 0.5}}}, "models: a: concurrency: 0.5 is not a whole number above 0"),
        ({"models": {"a": {**OWN, "timeout_s": 0}}}, "models: a: timeout_s: 0 is not a number above 0"),
        *(
            ({"models": {"a": {**OWN, "price": {"input": bad, "output": 1}}}}, "a: price: must be numbers of 0 or more")
            for bad in (float("nan"), float("inf"), -1, True, "1")
        ),
        ({"models": {"a": {**OWN, "capabilities": "json_schema"}}}, "a: capabilities: must be a list"),
        (
            {"models": {"a": {**OWN, "capabilities": ["json"]}}},
            "models: a: capabilities: json not known; known are json_schema",
        ),
        (
            {"budget": {"usd": 5, "models": ["opnerouter"]}, "models": {"openrouter": PAID}},
            r"did you mean openrouter\?",
        ),
        ({"budget": {"call": {"dollars": 1}}}, "budget: call: unknown key 'dollars'"),
        (
            {"budget": {"steps": {"30-generate": {"usd": -1}}}},
            "budget: steps: 30-generate: usd: -1 is not a number of 0",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, infra: dict, told: str) -> None:
    with pytest.raises(_config.ConfigError, match=told) as error:
        config(tmp_path, infra)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_an_empty_list_of_capabilities_is_none(tmp_path: Path) -> None:
    (one,) = profiles(config(tmp_path, {"models": {"a": {**OWN, "capabilities": None}}}).infra).values()
    assert one.capabilities == frozenset()


def test_a_role_names_profiles_that_exist(tmp_path: Path) -> None:
    with pytest.raises(
        _config.ConfigError, match=r"roles: judge: there is no profile 'lcoal' in models:; did you mean local\?"
    ):
        config(tmp_path, {"models": {"local": OWN}}, {"judge": {"prefer": "lcoal"}})


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ({"teachr": {}}, r"roles: no agent asks for role 'teachr'; did you mean teacher\?.*`by_hand: true`"),
        ({"teacher": {}, "critic": {"by_hand": False}}, "no agent asks for role 'critic'; known are judge, researcher"),
        ({"judge": {"by_hand": "yes"}}, "roles: judge: by_hand: 'yes' is neither true nor false"),
        ({"critic": {"by_hnad": True}}, r"critic: unknown key 'by_hnad'; did you mean by_hand\?"),
    ],
    ids=str,
)
def test_a_role_that_nobody_asks_for_is_a_slip_of_the_pen(tmp_path: Path, roles: dict, told: str) -> None:
    with pytest.raises(_config.ConfigError, match=told):
        config(tmp_path, {}, roles)


def test_a_role_of_a_new_agent_is_known_and_one_by_hand_is_said(tmp_path: Path) -> None:
    config(tmp_path, {}, {"critic": {"by_hand": True}, "judge": {}})
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "review.py").write_text('"""Review.\n\nAsks    role critic: what is wrong\n"""\n')
    assert _roles.asked(tmp_path / "agents") == ["critic"] and "teacher" in _roles.asked(_config.ROOT / "agents")
    _roles.check({"critic": {}}, tmp_path / "agents", "here")


def test_a_step_names_no_role(tmp_path: Path) -> None:
    (tmp_path / "swarm.yaml").write_text("flow: {10-research: {agent: research, role: reseracher}}")
    with pytest.raises(_config.ConfigError, match="flow: 10-research: role: an agent knows its roles; which model"):
        _config.load(tmp_path)


@pytest.mark.parametrize("place", ["key_env", "key_file"])
def test_a_key_in_the_place_of_its_name_is_refused_and_not_told(tmp_path: Path, place: str) -> None:
    key = "sk-or-v1-0123456789abcdef"
    with pytest.raises(_config.ConfigError, match=f"one: {place}: must be .*never the key") as error:
        config(tmp_path, {"models": {"one": {**OWN, place: key}}})
    assert key not in str(error.value)


def test_files_that_hold_keys_are_hidden_from_others(tmp_path: Path) -> None:
    models = {"one": {**OWN, "key_file": "~/keys/one"}, "off": {**OWN, "endpoint": None, "key_file": "/keys/off"}}
    hidden = config(tmp_path, {"models": models}).hidden
    assert set(hidden) == {Path("~/keys/one").expanduser(), Path("/keys/off")}
    servers = {"notes": {"command": ["notes"], "env": {"NOTES_TOKEN": "x"}}}
    assert config(tmp_path, {"mcp": servers}).hidden == [tmp_path / "infra.yaml"]
