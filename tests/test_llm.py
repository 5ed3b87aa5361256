"""Calls to models as files: asked once, by whichever profile can, within the budget, whatever the server does."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from agents._ask import Asker, NoModel, NotReplayed, Unanswered
from agents.models import call as calls
from agents.models.aimd import FAILURES
from agents.models.exchange import Exchange
from agents.models.ledger import BudgetGone, Ledger, Limits, Tally
from agents.models.pace import Pace
from agents.models.profile import Price, Profile
from agents.models.turn import ATTEMPTS, OUTAGE_SENDS, Turn
from tests.asking import SERVICES, Asking, profile, question
from tests.processes import eventually, run
from tests.raw import Raw
from tests.raw import said as raw_answer
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
        ({"raw": '{"choices": [{"message": {"content": {"a": 1}}}]}'}, "malformed"),
        ({"text": "It is m", "finish": "error"}, "server"),
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
    assert [(one["how"], one["usd"] is None) for one in answer["attempts"]] == [("lost", True), ("stop", False)]
    assert answer["usd"] is None, "nobody knows what the lost one cost"
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


# -- calls that nobody answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [{"raw": '{"choices": []}'}, {"status": 500}, {"wire": "hang up"}], ids=str)
def test_a_question_that_its_server_never_answers_is_given_up_and_keeps_nobody(tmp_path: Path, act: dict) -> None:
    rules = [{"when": {"words": "poison"}, **act}]
    with Scripted(tmp_path / "server", rules=rules) as server:
        there = Asking(tmp_path, {"one": profile(server.url, concurrency=2)})
        with there.agent():
            answers = dict(there.asker().all("teacher", map(question, ["poison", *"abcdefgh"])))
        sent = [row for row in server.asked() if "poison" in str(row["body"])]
    assert isinstance(answers[0], Unanswered) and answers[0].kind == "tries", answers[0]
    assert all(isinstance(answers[n], dict) and answers[n]["text"] == "ok" for n in range(1, 9))
    assert len(sent) == SERVICES["llm"]["tries"] * ATTEMPTS


def test_what_was_attempted_by_earlier_tries_is_told_by_the_one_that_is_answered(tmp_path: Path) -> None:
    rules = [{"when": {"words": "slowly", "try": [1, ATTEMPTS]}, "status": 500}]
    with Scripted(tmp_path / "server", rules=rules) as server:
        there = Asking(tmp_path, {"one": profile(server.url, concurrency=2)})
        with there.agent():
            answers = dict(there.asker().all("teacher", map(question, ["slowly", *"abcdefgh"])))
    assert [one["how"] for one in answers[0]["attempts"]] == ["server"] * ATTEMPTS + ["stop"]
    assert answers[0]["usd"] is None and [one["usd"] for one in answers[0]["attempts"]] == [None] * ATTEMPTS + [0.0]


def test_a_call_that_one_profile_rejects_does_not_wait_for_ever_for_one_that_is_down(tmp_path: Path) -> None:
    with Scripted(tmp_path / "a", default={"status": 400}) as first, Scripted(tmp_path / "b") as second:
        second.stop()
        there = Asking(tmp_path, {"one": profile(first.url), "two": profile(second.url)})
        (id,) = there.asker().put([there.asker().call("teacher", question("Who is it?"))])
        with there.agent():
            eventually((crash := there.llm / "work" / id / "try-1" / "crash.json").exists)
    assert "one: 400" in (said := json.loads(crash.read_text())["message"]) and "connection refused" in said


def test_an_outage_in_which_all_that_is_sent_is_lost_ends(tmp_path: Path) -> None:
    """Each attempt may be billed: after so many the tries of the call count, though nobody else is answered."""
    with Scripted(tmp_path / "server", default={"status": 500}) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        asker = there.asker()
        (id,) = asker.put([asker.call("teacher", question("Who is it?"))])
        books = Ledger(there.llm, Limits())
        for _ in range(OUTAGE_SENDS):
            books.reserve(id, "10-list", "one", Price(0, 0), (1, 1))  # and killed
        books.close()
        with there.agent():
            eventually((there.llm / "work" / id / "try-1" / "crash.json").exists)


def test_dead_letters_are_asked_anew_by_whoever_asks_again_at_once_too(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server") as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        box, call = there.asker().mailbox, there.asker().call("teacher", question("Who is it?"))
        (id,) = there.asker().put([call])
        at_once = threading.Barrier(8)

        def ask_again(asker: Asker) -> list[str]:
            at_once.wait()
            return asker.put([call])

        askers = [there.asker() for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(40):
                box.bury(id, "tries", "5 deaths in a row")
                assert list(pool.map(ask_again, askers)) == [[id]] * 8
        with there.agent():
            assert there.ask("Who is it?")["text"] == "ok"


# -- answers that could not be written, or judged ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [("half \ud83d of it", "half ? of it"), ("[" * 253 + "]" * 253, None), ("[1e999]", None)],
    ids=["half a character", "too deep", "no number"],
)
def test_an_answer_is_paid_once_whatever_it_holds(tmp_path: Path, text: str, said: str | None) -> None:
    schema = None if said else {"type": "array"}
    with Raw(raw_answer(text)) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            answer = there.ask("Who is it?", schema=schema)
    assert isinstance(answer, dict) and answer["text"] == (said or text)
    assert len(server.heard) == (1 if said else 2) and (answer["error"] is None) == bool(said)


@pytest.mark.parametrize("bad", [{"type": 5}, {"$ref": "http://127.0.0.1:9/x.json"}, {"pattern": "("}], ids=str)
def test_a_call_whose_schema_is_none_is_given_up_before_it_is_sent(tmp_path: Path, bad: dict) -> None:
    with Scripted(tmp_path / "server") as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            answer = there.ask("Who is it?", schema=bad)
        assert isinstance(answer, Unanswered) and answer.kind == "request" and not server.asked()
    assert answer.message.startswith("answer_schema: is no JSON schema: ")


def test_the_first_answer_is_kept_where_the_second_asking_fails(tmp_path: Path) -> None:
    rules = [{"when": {"nth": 1}, "status": 200, "text": "Ada"}]
    answer, _, _ = answered(tmp_path, {"status": 500}, rules=rules, schema=PERSON)
    assert (answer["error"]["kind"], answer["text"]) == ("unfit", "Ada")
    assert [one["how"] for one in answer["attempts"]] == ["stop"] + ["server"] * ATTEMPTS


# -- money ---------------------------------------------------------------------------------------------------------


def test_where_the_money_is_gone_a_fallback_that_costs_nothing_is_asked(tmp_path: Path) -> None:
    with Scripted(tmp_path / "a") as first, Scripted(tmp_path / "b", default={"text": "me"}) as second:
        models = {"one": profile(first.url, price={"input": 0, "output": 1000}), "two": profile(second.url)}
        there = Asking(tmp_path, models, usd=0.05)  # 100 tokens at the first may take 0.1
        with there.agent():
            answer = there.ask("Who is it?")
        assert (answer["text"], answer["profile"], answer["usd"]) == ("me", "two", 0.0) and not first.asked()


def test_an_error_that_nobody_foresaw_leaves_nobody_waiting_for_its_money(tmp_path: Path) -> None:
    class Unforeseen(Exception):
        pass

    waits = iter(range(100))

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:  # for the slot, for the money, for the server
        if next(waits) == 2:
            raise Unforeseen
        yield

    with Raw(raw_answer("It is me.")) as server:
        one = Profile("one", server.url, "m", price=Price(0, 1000))
        call = calls.question("teacher", "one", "m", [{"role": "user", "content": "?"}], {"max_tokens": 100})
        (tmp_path / "outbox").mkdir()
        books = Ledger(tmp_path, Limits({"usd": 0.15}))
        exchange = Exchange({"one": one}, {}, books, threading.Event())
        with pytest.raises(Unforeseen):
            Turn(exchange, "1", call, waiting).reply()
        with pytest.raises(BudgetGone):  # and no thread waits for what is held
            Turn(exchange, "2", call).reply()
    assert books.spent().usd == pytest.approx(0.1) and not server.heard


def test_a_call_that_no_budget_has_room_for_ends_no_cooldown(tmp_path: Path) -> None:
    one, now, stop = Profile("one", "http://127.0.0.1:1/v1", "m", price=Price(0, 1000)), [0.0], threading.Event()
    call = calls.question("teacher", "one", "m", [{"role": "user", "content": "?"}], {"max_tokens": 100})
    exchange = Exchange({"one": one}, {}, Ledger(tmp_path, Limits({"usd": 0.05})), stop)
    pace = exchange.paces["one"] = Pace(8, clock=lambda: now[0], random=lambda: 0.0)
    for _ in range(FAILURES):
        assert pace.enter(stop)
        pace.leave("failed")
    first = pace.cooling_s()
    now[0] += first
    with pytest.raises(BudgetGone):
        Turn(exchange, "1", call).reply()
    assert pace.enter(stop)
    pace.leave("failed")
    assert pace.cooling_s() == 2 * first


def test_a_goal_that_gives_no_money_has_no_key_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-others-may-read-this")
    key.chmod(0o644)  # so that reading it is an error
    with Scripted(tmp_path / "server") as server:
        models = {"paid": profile(server.url, key_file=str(key)), "own": profile(server.url)}
        there = Asking(tmp_path, models, {"teacher": {"prefer": "paid", "fallback": ["own"]}}, usd=1)
        infra = yaml.safe_load((there.config / "infra.yaml").read_text())
        infra["budget"]["models"] = ["paid"]
        (there.config / "infra.yaml").write_text(yaml.safe_dump(infra))
        refused = run(*there.argv("--once")[1:])
        goal = there.folder / "goal.md"
        goal.write_text(re.sub("\nbudget: .*", "\nbudget: {usd: 0}", goal.read_text()))
        with there.agent():
            answer = there.ask("Who is it?")
    assert refused.returncode == 2 and "others may read it" in refused.stderr
    assert answer["profile"] == "own"


def test_another_model_under_the_same_profile_is_asked_anew(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", default={"text": "{model}"}) as server:
        for model in ("small", "large", "small"):
            there = Asking(tmp_path, {"one": profile(server.url, model=model)})
            with there.agent():
                assert there.ask("Who is it?")["text"] == model
        assert len(server.asked()) == 2


def test_an_answer_gets_no_more_room_than_the_context_leaves(tmp_path: Path) -> None:
    rules = [{"when": {"nth": 1}, "finish": "length", "text": "It"}]
    with Scripted(tmp_path / "server", rules=rules) as server:
        there = Asking(tmp_path, {"one": profile(server.url, context=700)})
        with there.agent():
            assert there.ask("Who? " * 200)["text"] == "ok"
        assert [one["body"]["max_tokens"] for one in server.asked()] == [100, 111]
