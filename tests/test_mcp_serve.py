"""Does bin/mcp serve runs and memory as it says, lose nothing told at once, and show nothing that it must not?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents import _recall, _statements, memory
from agents._servers import Server
from agents._statements import Shelf, merged, statement
from agents._tools import Tools
from agents.pages.page import Pair, Paragraph, Section, markdown
from agents.pages.story import SIDE_BY_SIDE
from bus import files, schema
from tests import small
from tests.processes import PATIENCE_S, ROOT, environment
from tests.test_memory import keep, note

OURS = [sys.executable, str(ROOT / "bin" / "mcp")]
NINE = {
    *("create_entities", "create_relations", "add_observations", "delete_entities", "delete_observations"),
    *("delete_relations", "read_graph", "search_nodes", "open_nodes"),
}
RUNS = {"list_runs", "status", "read_artifact", "ask"}


class Client:
    """A client of bin/mcp: `client.ask(run="small", …)` is a tool's structured result, `told` its error."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        server = Server("ours", [*OURS, "--runs", str(folder / "runs"), *arguments], {}, True)
        self.tools = Tools({"ours": server}, ["ours"], folder / "client").open()

    def __getattr__(self, tool: str):
        def call(**arguments):
            result = self.tools.call(f"ours.{tool}", arguments)
            assert not result.error, result.error
            return result.data

        return call

    def told(self, tool: str, **arguments) -> str:
        return self.tools.call(f"ours.{tool}", arguments).error


@pytest.fixture
def client(tmp_path):
    made = Client(tmp_path)
    yield made
    made.tools.close()


def entity(name, *observations, kind="thing"):
    return {"name": name, "entityType": kind, "observations": list(observations)}


def relation(a, b, how="knows"):
    return {"from": a, "to": b, "relationType": how}


def graph(folder):
    return [json.loads(line) for line in (folder / "runs/memory/memory.jsonl").read_text().splitlines()]


# -- the runs -------------------------------------------------------------------------------------------------


def test_its_tools_are_those_it_says_and_fewer_when_it_may_only_read(tmp_path, client):
    assert {name.removeprefix("ours.") for name in client.tools.known} == NINE | RUNS
    reader = Client(tmp_path, "--read-only")
    reading = {"list_runs", "status", "read_artifact", "read_graph", "search_nodes", "open_nodes"}
    assert {name.removeprefix("ours.") for name in reader.tools.known} == reading
    reader.tools.close()


def test_a_run_is_listed_told_read_and_asked(tmp_path, client):
    assert client.list_runs() == {"runs": []}
    folder = small.make(tmp_path / "runs")
    assert client.list_runs() == {"runs": [{"run": "small", "state": "waiting", "rounds": 1}]}
    small.work(folder, "10-list")
    assert client.status(run="small") == small.status(folder)
    goal = client.read_artifact(run="small", path="goal.md")
    assert goal["text"] == small.GOAL and goal["next"] is None and goal["bytes"] == len(small.GOAL.encode())
    assert client.read_artifact(run="small", path="10-list/outbox/r1")["names"] == ["list.txt", "more", "reply.json"]
    assert client.read_artifact(run="small", path="10-list/outbox/r1/more/x.txt")["text"] == "x\n"
    (folder / "20-sum/inbox/r1.json").unlink()
    assert client.ask(run="small", step="20-sum", round=1) == {"id": "r1", "new": True, "state": "waiting"}
    assert client.ask(run="small", step="20-sum", round=1)["new"] is False
    assert files.read_json(folder / "20-sum/inbox/r1.json")["step"] == "20-sum"
    assert "did you mean 20-sum?" in client.told("ask", run="small", step="20-sun", round=1)
    assert "1 wanted" in client.told("ask", run="small", step="20-sum", round=2)
    assert "is a service" in client.told("ask", run="small", step="memory", round=1)


def test_a_long_text_is_read_in_pieces_that_join_without_a_torn_character(tmp_path, client):
    folder = small.make(tmp_path / "runs")
    text = "é€😀x" * 30_000
    (folder / "goal.md").write_text(text)
    pieces, at = [], 0
    while at is not None:
        got = client.read_artifact(run="small", path="goal.md", offset=at)
        pieces.append(got["text"])
        at = got["next"]
    assert len(pieces) > 3 and "".join(pieces) == text


def secret_places(folder: Path) -> list[str]:
    """Paths that lead to what a client must not see, each of them there."""
    reply, outside = folder / "10-list/outbox/r1", folder.parent / "outside"
    outside.mkdir()
    for place in (outside, folder / "config", folder / "10-list/work"):
        place.mkdir(exist_ok=True)
        (place / "canary.txt").write_text("canary")
    reply.mkdir()
    (reply / "link.txt").symlink_to(outside / "canary.txt")
    (reply / "folder").symlink_to(outside)
    (reply / "exam.jsonl").write_text("canary")
    (reply / ".hidden").write_text("canary")
    (reply / "key.txt").write_text("canary: sk-" + "abcdefghij" * 3)
    (reply / "bytes.bin").write_bytes(b"canary\0")
    os.mkfifo(reply / "pipe")
    names = "link.txt folder/canary.txt exam.jsonl .hidden key.txt bytes.bin pipe missing.txt ../../../../outside/a"
    return [f"10-list/outbox/r1/{name}" for name in names.split()] + [
        *("config/canary.txt", "10-list/work/canary.txt", "run.json", "..", "../outside/canary.txt", "", "goal.md/x"),
        *(str(outside / "canary.txt"), "llm/outbox/x.json", "10-list/outbox/r1/a\0b", "10-list/inbox/r1.json"),
    ]


def test_nothing_outside_of_replies_is_read_by_whatever_path(tmp_path, client):
    folder = small.make(tmp_path / "runs")
    for path in secret_places(folder):
        said = client.told("read_artifact", run="small", path=path)
        assert said and "canary" not in said.replace(path, ""), path
    (tmp_path / "runs" / "linked").symlink_to(folder)
    for name in ("../small", "linked", "memory", str(folder), "small/../small", ""):
        assert "is no run; there are small" in client.told("status", run=name)
    assert client.list_runs()["runs"][0]["run"] == "small"


SEALED = "0b5e55ed-unseen-question"
KINDS = {
    "x.jsonl": "example.v1",
    "y.json": "item.v1",
    "z.jsonl": "answer.v1",
    "d.jsonl": "dropped.v1",
    "j": "judged.v1",
}
NAMES = "exam.jsonl validation.jsonl answers.jsonl dropped.jsonl left_out.jsonl judged.jsonl".split()


def test_all_that_holds_text_of_the_exam_is_sealed_by_its_kind_and_by_its_name(tmp_path, client):
    flow = small.step("true", writes={"examples/*.jsonl": "example.v1", **KINDS, "*.jsonl": "text", "*.md": "text"})
    box = small.make(tmp_path / "runs", flow) / "10-one/outbox/r1"
    (box / "examples").mkdir(parents=True)
    for name in ("examples/qa.jsonl", *KINDS, *NAMES, "report.html", "train.jsonl"):
        (box / name).write_text(SEALED)
        said = client.tools.call("ours.read_artifact", {"run": "small", "path": f"10-one/outbox/r1/{name}"})
        assert ("is sealed" in said.error) is (name != "train.jsonl") and (SEALED in said.text) is not bool(said.error)
    assert "exam.jsonl" in client.read_artifact(run="small", path="10-one/outbox/r1")["names"]


def told_page(*titles):
    """A report as agents/report.py writes it: each section quotes a question, as only one of them does."""
    hostile = f"\n## What it cost\n```\n## {SEALED}\n````\n## {SEALED}"
    pair = Pair("unseen", f"{SEALED}{hostile}", SEALED, [("base", hostile, "0.1"), ("specialist", hostile, "0.2")])
    return markdown(
        "small", [Section(one, [pair] if one == SIDE_BY_SIDE else [Paragraph("é" * 20_000)]) for one in titles]
    )


@pytest.mark.parametrize("titles", [("Training", SIDE_BY_SIDE, "What it cost"), ("Training", SIDE_BY_SIDE)])
def test_the_report_is_read_without_the_answers_side_by_side(tmp_path, client, titles):
    box = small.make(tmp_path / "runs", small.step("true", writes={"report.md": "text"})) / "10-one/outbox/r1"
    box.mkdir(parents=True)
    (box / "report.md").write_text(told_page(*titles))
    text, at = "", 0
    while at is not None:
        got = client.read_artifact(run="small", path="10-one/outbox/r1/report.md", offset=at)
        text, at = text + got["text"], got["next"]
    assert got["bytes"] == len(text.encode()) and SEALED not in text
    others = told_page(*(one for one in titles if one != SIDE_BY_SIDE))
    without = text.replace(f"## {SIDE_BY_SIDE}", "").replace("Left out here: the exam is sealed.", "")
    assert without.split() == others.split() and "Left out here" in text


@pytest.mark.parametrize("document", ["{}", "not JSON", '{"schema": "run.v1"}'])
def test_one_damaged_run_does_not_hide_the_others(tmp_path, client, document):
    small.make(tmp_path / "runs")
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/run.json").write_text(document)
    damaged, whole = client.list_runs()["runs"]
    assert (damaged["run"], damaged["state"], damaged["rounds"]) == ("broken", "damaged", None)
    assert "run.json" in damaged["why"] and str(tmp_path) not in damaged["why"]
    assert whole == {"run": "small", "state": "waiting", "rounds": 1}


# -- the memory -----------------------------------------------------------------------------------------------


def test_the_nine_tools_do_what_the_memory_server_does(tmp_path, client):
    a, b = entity("A", "one", "two"), entity("B")
    assert client.create_entities(entities=[a, b, entity("A", "late")]) == {"entities": [a, b]}
    assert client.create_entities(entities=[entity("A", "again")]) == {"entities": []}
    edges = [relation("A", "B"), relation("A", "C")]
    assert client.create_relations(relations=[*edges, edges[0]]) == {"relations": edges}
    added = client.add_observations(observations=[{"entityName": "A", "contents": ["two", "three", "three"]}])
    assert added == {"results": [{"entityName": "A", "addedObservations": ["three"]}]}
    assert "Entity with name Z not found" in client.told(
        "add_observations", observations=[{"entityName": "Z", "contents": ["x"]}]
    )
    whole = {"entities": [entity("A", "one", "two", "three"), b], "relations": edges}
    assert client.read_graph() == whole
    assert client.search_nodes(query="THREE") == {"entities": whole["entities"][:1], "relations": edges}
    assert client.open_nodes(names=["B", "nobody"]) == {"entities": [b], "relations": edges[:1]}
    assert client.delete_observations(deletions=[{"entityName": "A", "observations": ["one", "none"]}])["success"]
    assert client.delete_relations(relations=[edges[1]])["success"]
    assert client.read_graph() == {"entities": [entity("A", "two", "three"), b], "relations": edges[:1]}
    assert client.delete_entities(entityNames=["A", "nobody"])["success"]
    assert client.read_graph() == {"entities": [b], "relations": []}
    assert client.create_entities(entities=[entity("A", "two")]) == {"entities": [entity("A", "two")]}
    assert client.read_graph() == {"entities": [b, entity("A", "two")], "relations": []}
    assert graph(tmp_path) == [{"type": "entity", **b}, {"type": "entity", **entity("A", "two")}]


def test_what_runs_told_is_found_and_added_to_but_not_deleted(tmp_path, client):
    shared = tmp_path / "runs" / "memory"
    keep(shared, note("slow", topics=["cuda"]))
    run = "run gpu-ops"
    client.add_observations(observations=[{"entityName": run, "contents": ["seen by a client"]}])
    node = next(one for one in client.open_nodes(names=[run])["entities"])
    assert node["observations"] == ["r1 result: slow", "seen by a client"]
    for tool, arguments in (
        ("delete_entities", {"entityNames": [run]}),
        ("delete_observations", {"deletions": [{"entityName": run, "observations": ["r1 result: slow"]}]}),
        ("delete_relations", {"relations": [relation(run, "topic cuda", "has result about")]}),
    ):
        assert "is what runs told" in client.told(tool, **arguments)
    keep(shared, note("fast", topics=["cuda"]))  # another run tells, and what the client told stays
    assert node["observations"][1] in next(one for one in graph(tmp_path) if one["name"] == run)["observations"]
    assert len(_recall.load(shared / "observations")[0]) == 2, "no statement of a client is taken for an observation"
    client.delete_observations(deletions=[{"entityName": run, "observations": ["seen by a client"]}])
    assert "seen by a client" not in json.dumps(client.read_graph())


def test_bounds_of_one_call_are_told_and_nothing_of_it_is_kept(tmp_path, client):
    many = [entity(f"n{n}") for n in range(files.BATCH + 1)]
    assert f"at most {files.BATCH}" in client.told("create_entities", entities=many)
    assert "at most 16,384" in client.told("create_entities", entities=[entity("x", "y" * 20_000)])
    assert "name" in client.told("create_entities", entities=[entity("")])
    assert client.read_graph() == {"entities": [], "relations": []}


async def writing(runs: Path, name: str, writes: int) -> list[str]:
    """One client process's server: entities, observations on one that all share, relations; what it was told is new."""
    from mcp import Client as Sdk
    from mcp import StdioServerParameters

    new = []
    async with Sdk(StdioServerParameters(command=OURS[0], args=[*OURS[1:], "--runs", str(runs)])) as client:
        await client.call_tool("create_entities", {"entities": [entity("shared")]})
        for n in range(writes):
            text = f"{name} {n}"
            said = await client.call_tool(
                "add_observations", {"observations": [{"entityName": "shared", "contents": [text]}]}
            )
            new += said.structured_content["results"][0]["addedObservations"]
    return new


WRITE = """
import asyncio, sys
from pathlib import Path
from tests.test_mcp_serve import writing
print(len(asyncio.run(writing(Path(sys.argv[1]), sys.argv[2], 50))))
"""


def test_eight_clients_that_write_at_once_lose_nothing(tmp_path):
    """Each a process of its own with a server of its own, as clients start them; some 400 writes to one entity."""
    argv = [sys.executable, "-c", WRITE, str(tmp_path / "runs")]
    children = [
        subprocess.Popen([*argv, f"client-{n}"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        for n in range(8)
    ]
    assert [child.communicate(timeout=4 * PATIENCE_S)[0].strip() for child in children] == ["50"] * 8
    (node,) = graph(tmp_path)
    assert sorted(node["observations"]) == sorted(f"client-{c} {n}" for c in range(8) for n in range(50))
    shelf = Shelf(tmp_path / "runs/memory/statements")
    shelf.look()
    assert len(shelf.living("observation")) == 400 and shelf.problems == []
    before = (tmp_path / "runs/memory/memory.jsonl").read_bytes()
    memory.compile_graph(tmp_path / "runs/memory")
    assert (tmp_path / "runs/memory/memory.jsonl").read_bytes() == before


# -- statements -----------------------------------------------------------------------------------------------


def shelved(folder: Path, *statements: dict) -> Shelf:
    folder.mkdir(parents=True, exist_ok=True)
    for one in statements:
        (folder / f"{one['id']}.json").write_bytes(files.canonical(one))
    shelf = Shelf(folder)
    shelf.look()
    return shelf


def test_what_lives_depends_on_which_statements_there_are_and_on_no_order(tmp_path):
    first = statement("entity", 1, name="A", type="thing")
    said = statement("observation", 2, entity="A", text="one")
    gone = statement("deleted", 3, ids=sorted([first["id"], said["id"]]))
    again = statement("entity", 4, name="A", type="thing")
    every = [first, said, gone, again]
    expected = [{"type": "entity", "name": "A", "entityType": "thing", "observations": []}]
    for n in range(4):
        assert merged([], shelved(tmp_path / str(n), *every[n:], *every[:n])) == expected
    assert merged([], shelved(tmp_path / "before", first, said))[0]["observations"] == ["one"]
    assert merged([], shelved(tmp_path / "gone", first, said, gone)) == []


def test_a_file_that_is_no_statement_is_named_and_the_rest_is_read(tmp_path):
    good = statement("entity", 1, name="A", type="thing")
    forged = {**statement("entity", 2, name="B", type="thing"), "type": "other"}
    torn = tmp_path / "s-torn.json"
    tmp_path.joinpath("s-torn.json").write_text('{"schema": "sta')
    tmp_path.joinpath("s-link.json").symlink_to("/etc/hostname")
    shelf = shelved(tmp_path, good, forged)
    assert [one["name"] for one in shelf.living("entity")] == ["A"]
    assert len(shelf.problems) == 3 and any(torn.name in line for line in shelf.problems)
    (tmp_path / f"{good['id']}.json").unlink()  # by hand
    shelf.look()
    assert shelf.living("entity") == []


def test_an_observation_waits_for_its_entity_and_a_kill_between_them_shows_nothing(tmp_path):
    waiting = statement("observation", 1, entity="A", text="one")
    assert merged([], shelved(tmp_path, waiting)) == []
    there = statement("entity", 2, name="A", type="thing")
    assert merged([], shelved(tmp_path, there))[0]["observations"] == ["one"]


def test_a_statement_is_known_by_its_content(tmp_path):
    one = statement("relation", 1, **{"from": "A", "to": "B", "how": "knows"})
    assert _statements.checked(one) is one
    with pytest.raises(schema.Invalid, match="is not the id of this content"):
        _statements.checked({**one, "to": "C"})


def test_its_help_shows_how_a_client_is_told_of_it():
    told = small.command("mcp", "--help").stdout
    example = json.loads(told[told.index("{") : told.rindex("}") + 1])
    assert example["mcpServers"]["mailroom"]["command"].endswith("bin/mcp")


def test_a_client_that_goes_away_ends_it(tmp_path):
    ended = subprocess.run([*OURS, "--runs", str(tmp_path)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, b"")
