"""Calls to models as files: asked once, by whichever profile can, within the budget, whatever the server does."""

import json
from pathlib import Path

import pytest

from agents._ask import NoModel, NotReplayed, Unanswered
from agents.models.ledger import Tally
from tests.asking import Asking, profile, question
from tests.processes import eventually, run
from tests.scripted.fixture import Scripted

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def answered(tmp_path: Path, act: dict, *, rules: list | None = None, **more) -> tuple[dict, Scripted, Asking]:
    """The reply to one question, asked of a server that does `act`."""
    with Scripted(tmp_path / "server", default=act, rules=rules or []) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            answer = there.ask("Who is it?", **more)
    assert isinstance(answer, dict), answer
    return answer, server, there


def test_a_question_is_a_file_and_so_is_its_answer(tmp_path: Path) -> None:
    answer, server, there = answered(tmp_path, {"text": "It is me."})
    assert (answer["text"], answer["error"], answer["usd"]) == ("It is me.", None, 0.0)
    assert answer["call"]["messages"] == [{"role": "user", "content": "Who is it?"}]
    assert answer["tokens"]["counted"] and answer["tokens"]["output"] > 0
    assert [one["how"] for one in answer["attempts"]] == ["stop"]
    (path,) = (there.llm / "outbox").glob("*.json")
    assert json.loads(path.read_bytes()) == answer
    assert [one["event"] for one in there.ledger()] == ["reserve", "settle"]
    assert len(server.asked()) == 1


def test_the_same_question_is_never_sent_again(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", default={"call": "echo"}) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            first = [dict(there.asker(step).all("teacher", map(question, "abcb"))) for step in ("10-list", "20-sum")]
        with there.agent():
            again = dict(there.asker().all("teacher", map(question, "abcb")))
        assert first[0] == first[1] == again and [again[n]["text"] for n in range(4)] == list("abcb")
        assert len(server.asked()) == 3


def test_another_sample_is_another_question(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", default={"text": "{nth}"}) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            assert {there.ask("a", sample=n)["text"] for n in (0, 1, 0)} == {"1", "2"}


@pytest.mark.parametrize(
    "act",
    [
        {"usage": False},
        {"stream": True},
        {"stream": True, "done": False, "usage": False},
        {"wire": "drip", "drip_s": 0.01},
        {"wire": "close"},
    ],
    ids=str,
)
def test_servers_that_differ_are_understood(tmp_path: Path, act: dict) -> None:
    answer, _, _ = answered(tmp_path, {"text": "It is me.", **act})
    assert (answer["text"], answer["error"]) == ("It is me.", None)
    assert answer["tokens"]["counted"] is (act.get("usage", True) and not act.get("stream"))  # no stream tells it
    assert answer["usd"] == (0.0 if answer["tokens"]["counted"] else None)


@pytest.mark.parametrize(
    ("act", "how"),
    [
        ({"status": 429, "retry_after": 0}, "busy"),
        ({"status": 500}, "server"),
        ({"status": 529}, "server"),
        ({"wire": "hang up"}, "connection"),
        ({"wire": "cut"}, "connection"),
        ({"wire": "silent"}, "timeout"),
        ({"raw": "<html>busy</html>", "type": "text/html"}, "malformed"),
        ({"raw": '{"choices": []}'}, "malformed"),
        ({"error": {"message": "overloaded", "code": 503}}, "server"),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(tmp_path: Path, act: dict, how: str) -> None:
    with Scripted(tmp_path / "server", rules=[{"when": {"nth": 1}, **act}]) as server:
        there = Asking(tmp_path, {"one": profile(server.url, timeout_s=1)})
        with there.agent():
            answer = there.ask("Who is it?")
    assert answer["text"] == "ok" and [one["how"] for one in answer["attempts"]] == [how, "stop"]


@pytest.mark.parametrize(
    ("act", "how"),
    [
        ({"status": 401}, "auth"),
        ({"status": 400}, "request"),
        ({"redirect": "http://127.0.0.1:1/elsewhere", "status": 307}, "redirect"),
        ({"text": "I'm sorry, but I can't help with that."}, "refusal"),
        ({"finish": "content_filter", "text": ""}, "filter"),
    ],
    ids=str,
)
def test_what_does_not_pass_goes_to_the_fallback(tmp_path: Path, act: dict, how: str) -> None:
    with Scripted(tmp_path / "a", default=act) as first, Scripted(tmp_path / "b", default={"text": "me"}) as second:
        there = Asking(tmp_path, {"one": profile(first.url), "two": profile(second.url)})
        with there.agent():
            answer = there.ask("Who is it?")
    assert (answer["text"], answer["profile"]) == ("me", "two")
    assert [one["how"] for one in answer["attempts"]] == [how, "stop"]


def test_a_call_that_nobody_answers_is_given_up_and_says_why(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", default={"status": 400, "error": {"message": "no such model"}}) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            answer = there.ask("Who is it?")
    assert isinstance(answer, Unanswered) and "no such model" in answer.message and "one: 400" in answer.message


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ({"finish": "length", "text": "It is m"}, "truncated"),
        ({"text": "I cannot assist with that request."}, "refused"),
        ({"text": " "}, "empty"),
    ],
    ids=str,
)
def test_an_answer_of_no_use_says_so_and_keeps_its_text(tmp_path: Path, act: dict, kind: str) -> None:
    answer, _, _ = answered(tmp_path, act)
    assert (answer["error"]["kind"], answer["text"]) == (kind, act["text"])


def test_an_answer_that_was_cut_off_is_asked_for_with_more_room(tmp_path: Path) -> None:
    rules = [{"when": {"nth": 1}, "finish": "length", "text": "It"}]
    answer, server, _ = answered(tmp_path, {"text": "It is me."}, rules=rules)
    assert answer["text"] == "It is me." and answer["error"] is None
    assert [one["body"]["max_tokens"] for one in server.asked()] == [100, 200]


def test_json_is_asked_for_by_schema_and_mended(tmp_path: Path) -> None:
    act = {"text": "Sure:\n```json\n{'name': 'Ada', 'age': 36,}\n```"}
    answer, server, _ = answered(tmp_path, act, schema=PERSON)
    assert answer["parsed"] == {"name": "Ada", "age": 36} and answer["mended"]
    assert "age" in server.asked()[0]["body"]["messages"][-1]["content"]  # told in words: it can do no schema


def test_json_that_does_not_fit_is_asked_for_once_more_with_the_error(tmp_path: Path) -> None:
    rules = [{"when": {"nth": 1}, "text": '{"name": "Ada"}'}]
    answer, server, _ = answered(tmp_path, {"text": '{"name": "Ada", "age": 36}'}, rules=rules, schema=PERSON)
    assert answer["parsed"] == {"name": "Ada", "age": 36}
    assert '"age"' in server.asked()[1]["body"]["messages"][-1]["content"]


def test_a_server_that_ignores_the_schema_is_told_it_in_words(tmp_path: Path) -> None:
    rules = [{"when": {"words": "properties"}, "text": '{"name": "Ada", "age": 36}'}]
    with Scripted(tmp_path / "server", default={"text": "Ada, 36"}, rules=rules) as server:
        there = Asking(tmp_path, {"one": profile(server.url, capabilities=["json_schema"])})
        with there.agent():
            answer = there.ask("Who is it?", schema=PERSON)
        assert answer["parsed"] == {"name": "Ada", "age": 36}
        first, second = (one["body"] for one in server.asked())
    assert first["response_format"]["json_schema"]["schema"] == PERSON and "properties" not in str(first["messages"])
    assert len(second["messages"]) == 3


@pytest.mark.parametrize("text", ['{"name": "Ada"}', '{"name": "Ada", "age": 3', "Ada"], ids=str)
def test_json_that_never_fits_is_an_error_that_keeps_the_text(tmp_path: Path, text: str) -> None:
    answer, server, _ = answered(tmp_path, {"text": text}, schema=PERSON)
    assert (answer["error"]["kind"], answer["parsed"], answer["text"]) == ("unfit", None, text)
    assert len(server.asked()) == 2


@pytest.mark.parametrize(
    ("act", "usd", "kind"),
    [
        ({"finish": "length", "text": "It is m"}, 0.15, "truncated"),  # 100 tokens fit it, twice as many do not
        ({"text": "Ada"}, 0.1002, "unfit"),  # 100 tokens fit it, and not a second time
        ({"text": "I cannot help with that."}, 0.1002, "refused"),  # … nor at the fallback
    ],
    ids=str,
)
def test_what_is_paid_is_the_answer_where_the_budget_has_no_room_to_ask_again(
    tmp_path: Path, act: dict, usd: float, kind: str
) -> None:
    price = {"input": 0, "output": 1000}
    with Scripted(tmp_path / "server", default=act) as server:
        models = {name: profile(server.url, price=price) for name in ("one", "two")}
        there = Asking(tmp_path, models, usd=usd)
        with there.agent():
            answer = there.ask("Who is it?", schema=None if kind == "refused" else PERSON)
        assert isinstance(answer, dict) and len(server.asked()) == 1
    assert (answer["error"]["kind"], answer["text"], answer["profile"]) == (kind, act["text"], "one")
    assert [one["usd"] for one in answer["attempts"]] == [answer["usd"]] and answer["usd"] > 0


def test_a_role_without_an_enabled_profile_is_done_without(tmp_path: Path) -> None:
    there = Asking(
        tmp_path, {"paid": profile("https://example.invalid/v1", key_env="NO_SUCH_KEY"), "off": profile(None)}
    )
    assert there.asker().profile("teacher") is None and there.asker().profile("unheard-of") is None
    with pytest.raises(NoModel, match="role teacher: no enabled profile"):
        there.ask("Who is it?")


def test_a_call_in_flight_when_its_agent_is_killed_is_asked_again_and_stays_reserved(tmp_path: Path) -> None:
    price = {"input": 10.0, "output": 20.0}
    with Scripted(tmp_path / "server", rules=[{"when": {"nth": 1}, "wire": "silent"}]) as server:
        there = Asking(tmp_path, {"one": profile(server.url, price=price, timeout_s=1)}, usd=1)
        asker = there.asker()
        with there.agent() as first:
            (id,) = asker.put([asker.call("teacher", question("Who is it?"))])
            eventually(lambda: [one["event"] for one in there.ledger()] == ["reserve"])
            first.kill()
            first.wait()
        with there.agent():
            answer = there.ask("Who is it?")
        assert answer["text"] == "ok" and asker.mailbox.answered(id)
    lost, *later = there.ledger()
    assert lost["event"] == "reserve" and lost["n"] not in {one["n"] for one in later}  # it may be billed: it stays
    assert later[-1]["event"] == "settle" and 0 < later[-1]["usd"] < lost["usd"]
    assert Tally(there.llm / "ledger.jsonl").look().usd >= lost["usd"] + later[-1]["usd"]


def test_a_replayed_run_sends_nothing(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server") as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            answer = there.ask("Who is it?")
    (there.llm / "REPLAY").write_text('{"profiles": {"teacher": [["one", "scripted"]]}, "lost": []}')
    assert there.ask("Who is it?") == answer
    with pytest.raises(NotReplayed, match=r"llm/outbox/[0-9a-f]{40}.json: is not among the replayed calls"):
        there.ask("Who else?")


def test_one_agent_keeps_the_books(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server") as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            eventually((there.llm / "ledger.jsonl").exists)
            second = run(*there.argv("--once")[1:])
    assert second.returncode == 75 and "another llm agent serves this run" in second.stderr
