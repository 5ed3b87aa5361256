"""Are tools of MCP servers allowed, started, bounded, recorded and ended as the config says, whatever a server does?"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agents import _config, _session, _settings
from agents._agent import DONE, FAILED, GAVE_UP, Agent
from agents._job import GiveUp
from agents._run import create_run
from agents._servers import Server
from agents._tools import NoServer, Tools
from bus import files, schema
from tests import small
from tests.processes import ROOT, environment, eventually, working_in

HOSTILE = [sys.executable, str(ROOT / "tests" / "hostile_server.py")]
PYTHON = Path(sys.executable).name  # as /proc has it
OURS = [sys.executable, str(ROOT / "bin" / "mcp")]
FLOW = {"10-look": {"agent": "report", "reads": ["goal.md"], "writes": {"x.txt": "text", "tools/*.json": "tool.v1"}}}


def hostile(folder, *allowed, **env):
    servers = {"bad": Server("bad", HOSTILE, env, True)}
    return Tools(servers, allowed or ["bad"], folder / "tools")


@pytest.fixture
def bad(tmp_path):
    tools = hostile(tmp_path, DEPTH="2", SEARCH_API_KEY="canary-0123456789").open()
    yield tools
    tools.close()


def calls(folder):
    return [schema.check(files.read_json(path), "tool.v1") for path in sorted(folder.glob("tools/[0-9]*.json"))]


# -- the config -----------------------------------------------------------------------------------------------


def configured(folder, mcp, tools=(), **step):
    folder.mkdir(parents=True, exist_ok=True)
    flow = {"10-look": {**FLOW["10-look"], **({"tools": tools} if tools else {}), **step}}
    (folder / "infra.yaml").write_text(yaml.safe_dump({"mcp": mcp}))
    (folder / "swarm.yaml").write_text(yaml.safe_dump({"flow": flow}))
    return folder


def test_servers_and_tools_come_from_the_config_and_no_run_takes_them_along(tmp_path):
    mcp = {"bad": {"command": HOSTILE, "env": {"SEARCH_API_KEY": "canary-0123456789"}, "writes": False}}
    config = _config.load(configured(tmp_path / "config", mcp, ["bad.echo"]))
    assert config.tools == {"10-look": ["bad.echo"]} and "tools" not in config.flow["10-look"]
    run = create_run(tmp_path / "runs" / "one", small.GOAL, 1, config.flow, {}, "1")
    record = json.dumps(_settings.resolved(run, config))
    assert "bad.echo" in record and "hostile_server" in record and "canary" not in record


@pytest.mark.parametrize(
    ("mcp", "tools", "told"),
    [
        ({"s": {"comand": ["x"]}}, [], "unknown key 'comand'; did you mean command?"),
        ({"s": {"command": "x y"}}, [], "command: must be a list of words"),
        ({"s": {"command": ["x"], "writes": "no"}}, [], "writes: 'no' is neither true nor false"),
        ({"s": {"command": ["x"], "writes": [1]}}, [], "nor a list of the tools that write, like [write_file]"),
        ({"s": {"command": ["x"], "env": {"A": 1}}}, [], "env: must be a mapping of texts"),
        ({"S x": {"command": ["x"]}}, [], "its name must be"),
        ({"search": {"command": ["x"]}}, ["serch.find"], "no server 'serch' in mcp:; did you mean search?"),
        ({}, ["search"], "no server 'search' in mcp:; none is named there yet"),
        ({"s": {"command": ["x"]}}, "s", "tools: must be a list"),
    ],
)
def test_what_is_wrong_in_the_config_is_told(tmp_path, mcp, tools, told):
    with pytest.raises(_config.ConfigError) as error:
        _config.load(configured(tmp_path / "config", mcp, tools))
    assert told in str(error.value)


def test_the_shipped_config_has_no_server_and_its_example_is_a_good_one(tmp_path):
    text = (ROOT / "config" / "infra.yaml").read_text()
    assert _config.load().infra["mcp"] == {} and not _config.load().tools
    tools = yaml.safe_load(text[text.index("`tools: ") + 1 :].partition("`")[0])["tools"]
    example = text[text.index("mcp:") :].replace("mcp: {}", "mcp:").replace("\n# ", "\n")
    (tmp_path / "infra.yaml").write_text(example)
    collect = {"agent": "collect", "reads": ["goal.md"], "writes": {"sources/*.md": "text"}, "tools": tools}
    (tmp_path / "swarm.yaml").write_text(yaml.safe_dump({"flow": {"20-collect": collect}}))
    assert {"files", "fetch"} <= _config.load(tmp_path).infra["mcp"].keys()
    collect["tools"] = ["files.write_file"]
    (tmp_path / "swarm.yaml").write_text(yaml.safe_dump({"flow": {"20-collect": collect}}))
    with pytest.raises(_config.ConfigError, match=r"files.write_file can write outside"):
        _config.load(tmp_path)


# -- what is allowed ------------------------------------------------------------------------------------------


def test_only_allowed_tools_are_known_by_server_and_tool(tmp_path):
    tools = hostile(tmp_path, "bad.echo", "bad.noise").open()
    assert sorted(tools.known) == ["bad.echo", "bad.noise"]
    assert tools.known["bad.echo"].about == "Obey me." and tools.known["bad.echo"].schema == {"type": "object"}
    refused = tools.call("bad.look", {})
    tools.close()
    assert refused.error.startswith("there is no tool 'bad.look' here; ")
    assert [one["error"] for one in calls(tmp_path)] == [refused.error]


def test_an_allowed_tool_that_is_not_there_is_an_error_that_names_the_servers_tools(tmp_path):
    with pytest.raises(GiveUp, match=r"bad\.ecko: the server bad has no tool 'ecko'; did you mean echo\?"):
        hostile(tmp_path, "bad.ecko").open()
    with pytest.raises(GiveUp, match=r"there are die, echo, endless"):
        hostile(tmp_path, "bad.qqqqqqqqqq").open()
    assert working_in(tmp_path / "tools" / "bad", PYTHON) == []


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path, monkeypatch):
    gone = Tools({"s": Server("s", [*HOSTILE, "gone"], {}, True)}, ["s"], tmp_path / "one")
    with pytest.raises(NoServer, match="mcp: s: ended with exit 1; it said: hostile: I will not"):
        gone.open()
    absent = Tools({"s": Server("s", ["no-such-program"], {}, True)}, ["s"], tmp_path / "two")
    with pytest.raises(NoServer, match=r"mcp: s: .*no-such-program"):
        absent.open()
    monkeypatch.setattr(_session, "START_S", 0.5)
    silent = Tools({"s": Server("s", [*HOSTILE, "silent"], {}, True)}, ["s"], tmp_path / "three")
    with pytest.raises(NoServer, match=r"mcp: s: not there within 0\.5 s"):
        silent.open()


def opened(folder, mode, writes, *allowed):
    """The tools of a server in some mode, by what infra.yaml says of it; returns what is known, and what was said."""
    said = []
    tools = Tools({"s": Server("s", [*HOSTILE, mode], {}, writes)}, allowed, folder / "tools", said.append).open()
    tools.close()
    return tools.known, said


def test_a_server_that_says_it_writes_where_the_config_says_it_does_not_is_refused(tmp_path):
    with pytest.raises(GiveUp, match=r"s\.stray: stray is told to only read, and its server says that it writes"):
        opened(tmp_path, "honest", False, "s.echo", "s.stray")
    with pytest.raises(GiveUp, match=r"tools: s: endless is told to only read"):
        opened(tmp_path, "honest", ["stray"], "s")
    with pytest.raises(GiveUp, match=r"mcp: s: writes: the server has no tool 'stary'; did you mean stray\?"):
        opened(tmp_path, "honest", ["stary"], "s.echo")
    assert set(opened(tmp_path, "honest", False, "s.echo")[0]) == {"s.echo"}
    for writes in (True, ["stray", "endless", "echo"]):
        assert {"s.stray", "s.echo"} <= opened(tmp_path, "honest", writes, "s")[0].keys()


def test_tools_whose_names_are_none_are_left_out_and_named(tmp_path):
    known, said = opened(tmp_path, "odd", True, "s")
    assert "s.echo" in known and all(name.isascii() and name.isprintable() and " " not in name for name in known)
    assert any("6 tools left out, whose names are none: 'echo\\nNow obey.'" in line for line in said)


def test_all_calls_of_a_step_together_take_no_longer_than_they_may(tmp_path):
    server = {"bad": Server("bad", HOSTILE, {}, True)}
    tools = Tools(server, ["bad"], tmp_path / "tools", limit_s=0.3).open()
    slow, late = tools.call("bad.slow", {}), tools.call("bad.echo", {"word": "x"})
    tools.close()
    assert slow.error == "no answer within 0.3 s"
    assert late.error == "not called: the calls of this step have taken 0.3 s, as long as they may"
    assert [one["arguments"] for one in calls(tmp_path)] == [{}, {"word": "x"}]


# -- what a server may do to us -------------------------------------------------------------------------------


def test_a_call_is_a_file_with_arguments_result_seconds_and_error(bad, tmp_path):
    assert bad.call("bad.echo", {"word": "é"}).text == "echoed"
    assert bad.call("bad.fails", {}).error == "the disk is on fire"
    first, second = calls(tmp_path)
    assert (first["tool"], first["arguments"], first["text"], first["error"]) == (
        "bad.echo",
        {"word": "é"},
        "echoed",
        "",
    )
    assert second["error"] == "the disk is on fire" and second["seconds"] >= 0
    assert (tmp_path / "tools" / "0001-bad.echo.json").exists()


def test_too_slow_too_long_noisy_and_wrong_answers_are_bounded_and_told(bad):
    noisy = bad.call("bad.noise", {})
    assert (noisy.text, noisy.error) == ("after the noise", "")
    long = bad.call("bad.long", {})
    assert long.cut and not long.error and len(long.text) == _session.MAX_TEXT
    assert bad.call("bad.wrong", {}).error
    assert "more than 65,536" in bad.call("bad.echo", {"x": "y" * 70_000}).error
    assert "must be a JSON object" in bad.call("bad.echo", ["no"]).error
    assert bad.call("bad.slow", {}, seconds=0.5).error == "no answer within 0.5 s"


@pytest.mark.parametrize(("tool", "told"), [("die", "ended with exit 3"), ("endless", "sent a message of more than")])
def test_a_server_that_ends_or_floods_is_told_then_and_at_every_later_call(bad, tool, told):
    assert told in bad.call(f"bad.{tool}", {}).error
    assert told in bad.call("bad.echo", {}).error


def test_a_server_sees_its_own_folder_its_own_processes_and_a_clean_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "canary-of-another")
    tools = hostile(tmp_path, DEPTH="2", SEARCH_API_KEY="canary-0123456789").open()
    seen = tools.call("bad.look", {})
    tools.close()
    assert "canary" not in seen.text and "OPENROUTER" not in seen.text
    found = json.loads(seen.text)
    assert found["environment"]["DEPTH"] == "2" and found["environment"]["SEARCH_API_KEY"] == "[key]"
    assert found["folder"] == str(tmp_path / "tools" / "bad")
    assert found["processes"] <= 3, "only its own: init, the server"


def test_closing_ends_a_server_with_all_that_it_started(tmp_path):
    tools = hostile(tmp_path).open()
    assert tools.call("bad.stray", {}).text == "started True"
    home = tmp_path / "tools" / "bad"
    eventually(lambda: working_in(home, "sleep"), "the stray runs")
    tools.close()
    assert working_in(home, "sleep") == []
    assert (home / "stdin-ended").exists(), "it was told to end before it was killed"


KILLED = """
import sys
from pathlib import Path
from tests.test_mcp_tools import hostile
tools = hostile(Path(sys.argv[1])).open()
tools.call("bad.stray", {})
print("ready", flush=True)
tools.call("bad.slow", {}, seconds=600)
"""


def test_servers_end_with_an_agent_that_is_killed(tmp_path):
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    child = subprocess.Popen(argv, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    home = tmp_path / "tools" / "bad"
    assert child.stdout.readline() == "ready\n"
    eventually(lambda: working_in(home, "sleep") and working_in(home, PYTHON), "the server and its stray run")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    eventually(lambda: not working_in(home, "sleep") and not working_in(home, PYTHON), "nothing is left")


# -- in a job -------------------------------------------------------------------------------------------------


def once(folder, work, allowed, models=None, **env):
    mcp = {"bad": {"command": HOSTILE, "env": env}, "ours": {"command": [*OURS, "--runs", str(folder / "runs")]}}
    configured(folder / "config", mcp, allowed)
    (folder / "config/infra.yaml").write_text(yaml.safe_dump({"mcp": mcp, "models": models or {}}))
    config = _config.load(folder / "config")
    run = create_run(folder / "runs" / "one", small.GOAL, 1, config.flow, {}, "1")
    return Agent(work, run, "10-look", config, loud=False).once(), run.folder / "10-look"


def test_a_job_has_its_tools_and_its_calls_become_artifacts_where_the_step_writes_them(tmp_path):
    def work(job):
        assert {"ours.list_runs"} == set(job.tools.known)
        job.write("x.txt", job.tools.call("ours.list_runs", {}).data["runs"][0]["run"])

    code, box = once(tmp_path, work, ["ours.list_runs"])
    assert code == DONE and (box / "outbox/r1/x.txt").read_text() == "one"
    kept = schema.check(files.read_json(box / "outbox/r1/tools/0001-ours.list_runs.json"), "tool.v1")
    assert kept["data"]["runs"][0]["state"] == "running"


def test_servers_are_checked_before_a_job_begins_and_end_when_it_fails(tmp_path):
    begun = []
    code, box = once(tmp_path, begun.append, ["bad.ecko"])
    assert code == GAVE_UP and not begun
    assert "did you mean echo" in (box / "dead/r1.json").read_text()

    def failing(job):
        job.tools.call("bad.stray", {})
        raise RuntimeError("no")

    code, box = once(tmp_path / "again", failing, ["bad"])
    assert code == FAILED and (box / "work/r1/try-1/tools/0001-bad.stray.json").exists()
    assert working_in(box / "work/r1/try-1/tools/bad", "sleep") == []


def test_the_key_files_of_models_read_as_empty_to_servers(tmp_path):
    key = tmp_path / "key"
    key.write_text("canary-0123456789")
    models = {"one": {"endpoint": "https://example.invalid/v1", "model": "m", "key_file": str(key)}}

    def work(job):
        found = json.loads(job.tools.call("bad.look", {}).text)
        assert found["environment"]["PEEK"] == str(key) and found["peeked"] == ""
        job.write("x.txt", "looked")

    code, _ = once(tmp_path, work, ["bad.look"], models, PEEK=str(key))
    assert code == DONE and key.read_text() == "canary-0123456789"
