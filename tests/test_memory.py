"""Is what a run learned kept once, whole, and recalled where it matters?"""

import json
import multiprocessing
import os
import threading

import pytest

from agents import _config, _recall, memory
from agents._agent import GAVE_UP, Agent
from agents._run import create_run
from bus import files, locks, schema

FLOW = {"00-orient": {"agent": "orient", "reads": ["goal.md"], "writes": {}}}
SERVICES = {"memory": {"agent": "memory", "request": "observation.v1", "reply": "remembered.v1"}}


def note(text="cache", run="gpu-ops", round=1, kind="result", topics=("cuda-memory",), **data):
    return _recall.observation(kind, run, round, topics, text, data)


def keep(folder, *notes):
    for one in notes:
        memory.remember(folder, one)
    return memory.compile_graph(folder)


def lines(folder):
    return [json.loads(line) for line in (folder / "memory.jsonl").read_text().splitlines()]


def new_run(tmp_path, name="gpu-ops"):
    return create_run(tmp_path / name, "goal", 1, FLOW, SERVICES, "1")


def serve(run):
    """One request, by the agent itself."""
    return Agent(memory.memory, run, "memory", _config.load(), loud=False).once()


def test_the_id_is_the_content():
    one = note(n=3)
    assert schema.check(one, "observation.v1") and one["id"] == note(n=3)["id"] != note(n=4)["id"]
    assert note(topics=["b", "a", "b"]) == note(topics=["a", "b"])
    with pytest.raises(schema.Invalid, match="not the id of this content"):
        _recall.check({**one, "text": "another"})


def test_telling_twice_is_telling_once(tmp_path):
    assert memory.remember(tmp_path, note()) is True
    keep(tmp_path, note())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert memory.remember(tmp_path, note()) is False
    memory.compile_graph(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_torn_file_is_named_skipped_and_made_again_when_told(tmp_path):
    whole, torn = note("whole"), note("torn")
    keep(tmp_path, whole, torn)
    shelf = tmp_path / "observations"
    path = shelf / f"{torn['id']}.json"
    path.write_bytes(path.read_bytes()[:40])
    (shelf / "renamed.json").write_bytes(files.canonical(note("moved")))
    (shelf / "wrong.json").write_text('{"schema": "observation.v1"}')
    os.symlink("/etc/hostname", shelf / "link.json")
    (shelf / ".draft-1").write_text("half")
    found, problems = _recall.load(shelf)
    assert found == [whole]
    assert [line.partition(":")[0] for line in problems] == ["link.json", path.name, "renamed.json", "wrong.json"]
    assert not any(str(tmp_path) in line or "\n" in line for line in problems)
    assert memory.remember(tmp_path, torn) is False
    assert torn in _recall.load(shelf)[0] and path.with_name(f"{path.name}.torn").exists()


def test_the_compiled_file_is_entities_then_relations_without_loose_ends(tmp_path):
    keep(tmp_path, note("a", topics=["x", "y"]), note("b", run="x", kind="fix", topics=[]), note("c", topics=["x"]))
    found = lines(tmp_path)
    kinds = [one["type"] for one in found]
    assert kinds == sorted(kinds) and set(kinds) == {"entity", "relation"}
    entities = {one["name"]: one for one in found if one["type"] == "entity"}
    assert set(entities) == {"run gpu-ops", "run x", "topic x", "topic y"}  # a run and a topic may share a name
    assert all(set(one) == {"type", "name", "entityType", "observations"} for one in entities.values())
    assert len(entities["topic x"]["observations"]) == 2 and entities["run x"]["observations"] == ["r1 fix: b"]
    relations = [one for one in found if one["type"] == "relation"]
    assert all(set(one) == {"type", "from", "to", "relationType"} for one in relations)
    assert all(one["from"] in entities and one["to"] in entities for one in relations)
    assert len({json.dumps(one) for one in relations}) == len(relations) == 2


def test_the_compiled_file_does_not_depend_on_the_order_of_arrival(tmp_path):
    notes = [note(f"text {n}", run=f"run-{n % 3}", round=1 + n % 2) for n in range(12)]
    keep(tmp_path / "one", *notes)
    keep(tmp_path / "two", *notes[::-1])
    assert (tmp_path / "one" / "memory.jsonl").read_bytes() == (tmp_path / "two" / "memory.jsonl").read_bytes()


def tell_many(folder, start):
    for n in range(start, start + 15):
        keep(folder, note(f"text {n}"))


def test_runs_that_tell_at_once_lose_nothing(tmp_path):
    """Whoever compiles last has listed all that was published before: the file ends complete."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=tell_many, args=(tmp_path, 15 * n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(_recall.load(tmp_path / "observations")[0]) == 60
    assert len(next(one for one in lines(tmp_path) if one["type"] == "entity")["observations"]) == 60


def test_the_lock_is_waited_for_and_named_when_it_never_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "LOCK_WAIT_S", 0.1)
    tmp_path.joinpath("observations").mkdir()
    release = threading.Event()

    def hold():
        with memory.locked(tmp_path / "lock"):
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        while not locks.is_held(tmp_path / "lock"):
            pass
        with pytest.raises(TimeoutError, match="lock: held by another agent"):
            memory.compile_graph(tmp_path)
    finally:
        release.set()
        holder.join()
    assert memory.compile_graph(tmp_path) == []


def test_recall_puts_this_run_first_then_shared_words_then_use():
    mine, mine_later = note("old", round=1), note("new", round=2)
    near = note("near", run="other", topics=["cuda-memory", "cuda-errors"])
    advice = note("advice", run="other", kind="recommendation", topics=["cuda-graphs"])
    result = note("result", run="other", topics=["cuda-graphs"])
    machine = note("disk", run="other", kind="failure", topics=[])
    foreign = note("far", run="other", topics=["python-asyncio"])
    everything = [foreign, machine, result, advice, near, mine, mine_later]
    goal = ["cuda-memory", "CUDA memory and its errors"]
    expected = [mine_later, mine, near, advice, result, machine]
    assert _recall.recall(everything, goal, run="gpu-ops") == expected
    assert _recall.recall(everything[::-1], goal, run="gpu-ops") == expected
    assert _recall.recall(everything, goal, limit=2, run="gpu-ops") == expected[:2]
    assert _recall.recall([foreign, note("x", run="o", topics=["the-for-and"])], ["the for and"]) == []


def test_priors_take_the_first_usable_result():
    good = note("r", topic="cuda-memory", score=0.25, n=8)
    unusable = [note("no n", topic="cuda-memory", score=0.5), note("text", topic="cuda-memory", score="high", n=3),
                note("none", topic="cuda-memory", score=0.5, n=0),
                note("fix", kind="fix", topic="cuda-memory", score=0.5, n=2)]  # fmt: skip
    later = note("later", topic="cuda-memory", score=0.75, n=8)
    assert _recall.priors([*unusable, good, later], ["cuda-memory", "nccl"]) == {"cuda-memory": good}


def test_the_service_answers_with_the_observation_and_keeps_it_beside_the_run(tmp_path):
    run = new_run(tmp_path)
    assert run.mailbox("memory").put(note()["id"], note()) is True
    assert serve(run) == 0
    reply = run.mailbox("memory").reply(note()["id"])
    assert reply["observation"] == note()
    assert _recall.load(tmp_path / "memory" / "observations") == ([note()], [])
    assert lines(tmp_path / "memory")[0]["name"] == "run gpu-ops"
    assert run.mailbox("memory").put(note()["id"], note()) is False  # told again: nothing to do


def test_a_run_recalls_its_own_earlier_rounds_wherever_it_is(tmp_path):
    """Waiting requests, answered ones and the shared memory are one; this round's own notes are not yet known."""
    run = new_run(tmp_path)
    answered, waiting, now = note("answered"), note("waiting"), note("now", round=2)
    run.mailbox("memory").put(answered["id"], answered)
    serve(run)
    run.mailbox("memory").put(waiting["id"], waiting)
    run.mailbox("memory").put(now["id"], now)
    other = note("other", run="elsewhere", round=9)
    memory.remember(tmp_path / "memory", other)
    by_id = lambda notes: sorted(notes, key=lambda one: one["id"])  # noqa: E731
    assert _recall.gather(run.folder, 2) == (by_id([answered, waiting, other]), [])
    moved = tmp_path / "elsewhere" / "another-name"
    moved.parent.mkdir()
    run.close()
    os.rename(run.folder, moved)  # no shared memory there
    assert _recall.gather(moved, 2) == (by_id([answered, waiting]), [])
    assert _recall.gather(moved, 1) == ([], [])


def test_a_request_that_is_no_observation_ends_dead_and_nothing_is_kept(tmp_path):
    run = new_run(tmp_path)
    forged = {**note(), "text": "another text under the same id"}
    run.mailbox("memory").put(forged["id"], forged)
    assert serve(run) == GAVE_UP
    assert "not the id of this content" in (run.folder / "memory" / "dead" / f"{forged['id']}.json").read_text()
    assert not (tmp_path / "memory" / "observations").exists()
