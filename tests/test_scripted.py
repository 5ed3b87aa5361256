"""The scripted server does what its script says, and its log tells it: other tests count by both."""

import http.client
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests

from agents.models import structured
from tests.processes import PATIENCE_S, eventually
from tests.scripted.fixture import Scripted

SOURCE = "A mutex is held by one thread. A semaphore counts how many threads may enter at once. Both block."
QUOTED = f"Write pairs from this.\n<source>\n{SOURCE}\n</source>"
PAIRS = {
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "properties": {
                    "question": {"type": "string"},
                    "answer": {"type": "string"},
                    "span": {"type": "string"},
                    "difficulty": {"enum": ["easy", "hard"]},
                },
                "required": ["question", "answer", "span", "difficulty"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}


@pytest.fixture
def serve(tmp_path: Path) -> Any:
    """Start scripted servers that end with the test."""
    started: list[Scripted] = []

    def start(**script: Any) -> Scripted:
        started.append(Scripted(tmp_path / str(len(started)), script).start())
        return started[-1]

    yield start
    for one in started:
        one.stop()


Serve = Callable[..., Scripted]


def ask(server: Scripted, words: str = "hello", session: Any = requests, **more: Any) -> requests.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": words}], **more}
    options: dict[str, Any] = {"timeout": PATIENCE_S, "allow_redirects": False}
    return session.post(f"{server.url}/chat/completions", json=body, **options)


def said(response: requests.Response) -> str:
    return response.json()["choices"][0]["message"]["content"]


def test_answers_and_logs_what_was_asked(serve: Serve) -> None:
    server = serve(default={"text": "{last}: the {nth}th, try {try}, of {model}"})
    response = ask(server, "hi", max_tokens=99)
    assert said(response) == "hi: the 1th, try 1, of m"
    assert response.json()["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    assert requests.get(f"{server.url}/models", timeout=PATIENCE_S).status_code == 200
    requests.post(f"{server.url}/chat/completions", data=b"no json", timeout=PATIENCE_S)
    row, models, wrong = server.log()
    assert server.asked() == [row] == server.billed()
    assert row["body"]["max_tokens"] == 99 and row["tokens"] == {"input": 5, "output": 6}
    assert row["status"] == 200 and row["whole"] and not row["hung_up"] and row["authorization"] is None
    assert models["path"] == "/v1/models" and wrong["status"] == 404


def test_rules_go_by_words_model_number_try_and_share(serve: Serve) -> None:
    rules = [
        {"when": {"words": ["JUDGE", "two"]}, "text": "judged"},
        {"when": {"model": "other"}, "text": "other"},
        {"when": {"nth": [3, 4], "times": 1}, "text": "third"},
        {"when": {"words": "again", "try": 1}, "status": 503},
        {"when": {"words": "chance", "share": 0.5}, "text": "heads"},
    ]
    server = serve(rules=rules)
    assert [said(ask(server, "a judge of two")), said(ask(server, model="other"))] == ["judged", "other"]
    assert [said(ask(server, words)) for words in "ab"] == ["third", "ok"]
    assert [ask(server, "again").status_code for _ in range(2)] == [503, 200]
    heads = [said(ask(server, f"chance {n}")) for n in range(60)]
    assert 10 < Counter(heads)["heads"] < 50
    again = serve(rules=[{"when": {"words": "none of these"}}] * 4 + rules[4:])
    assert [said(ask(again, f"chance {n}")) for n in reversed(range(60))] == heads[::-1], "whatever the order"
    assert [row["rule"] for row in server.asked()][:4] == [0, 1, 2, "default"]


@pytest.mark.parametrize(
    ("script", "word"),
    [({"rulez": []}, "rulez"), ({"default": {"wire": "wet"}}, "wet"), ({"rules": [{"when": {"word": "a"}}]}, "word")],
)
def test_an_unknown_word_in_a_script_is_an_error(tmp_path: Path, script: dict[str, Any], word: str) -> None:
    with pytest.raises(RuntimeError, match=word):
        Scripted(tmp_path, script).start()


@pytest.mark.parametrize("schema", [None, PAIRS])
@pytest.mark.parametrize("asked", ["response_format", "words"])
def test_pairs_quote_the_source_by_the_schema_that_was_asked_for(serve: Serve, schema: Any, asked: str) -> None:
    server = serve(default={"call": "qa pairs"})
    words = QUOTED
    form = {}
    if schema and asked == "words":
        words = f"{QUOTED}\n{structured.instruction(schema)}"
    elif schema:
        form = structured.wanted(schema, frozenset({"json_schema"}))
    text = said(ask(server, words, **form))
    assert text == said(ask(server, words, **form)), "the same question has the same answer"
    pairs, _ = structured.parsed(text, schema or {})
    assert len(pairs["pairs"]) == 2
    assert all(pair["span"] in SOURCE and pair["answer"] in SOURCE for pair in pairs["pairs"])
    assert len({pair["question"] for pair in pairs["pairs"]}) == 2


def test_a_document_for_a_schema_and_an_echo(serve: Serve) -> None:
    server = serve(default={"call": "json for schema"}, rules=[{"when": {"words": "parrot"}, "call": "echo"}])
    text = said(ask(server, **structured.wanted(PAIRS, frozenset({"json_schema"}))))
    assert jsonschema_rs.is_valid(PAIRS, json.loads(text))
    assert said(ask(server, "a parrot")) == "a parrot"


def test_finish_refusal_usage_n_and_max_tokens(serve: Serve) -> None:
    long = "word " * 50
    server = serve(
        default={"text": long},
        rules=[
            {"when": {"words": "filter"}, "finish": "content_filter"},
            {"when": {"words": "refuse"}, "refusal": "I cannot."},
            {"when": {"words": "deaf"}, "ignores": ["n", "max_tokens"], "usage": False},
        ],
    )
    assert ask(server, "filter").json()["choices"][0]["finish_reason"] == "content_filter"
    assert ask(server, "refuse").json()["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": "I cannot.",
    }
    cut = ask(server, max_tokens=10, n=2).json()
    assert [choice["finish_reason"] for choice in cut["choices"]] == ["length"] * 2
    assert cut["choices"][0]["message"]["content"] == long[:40] and cut["usage"]["completion_tokens"] == 20
    deaf = ask(server, "deaf", max_tokens=10, n=2).json()
    assert len(deaf["choices"]) == 1 and deaf["choices"][0]["message"]["content"] == long and "usage" not in deaf


def test_streams(serve: Serve) -> None:
    server = serve(default={"text": "word " * 30}, rules=[{"when": {"words": "odd"}, "done": False, "stream": True}])
    events = ask(server, stream=True, stream_options={"include_usage": True}).text.split("\n\n")[:-1]
    assert events[-1] == "data: [DONE]"
    parts = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts[:-1]) == "word " * 30
    assert parts[-2]["choices"][0]["finish_reason"] == "stop" and parts[-1]["usage"]["completion_tokens"] == 38
    odd = ask(server, "odd").text
    assert odd.startswith("data: ") and "[DONE]" not in odd and "usage" not in odd


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503, 529])
def test_errors(serve: Serve, status: int) -> None:
    server = serve(default={"status": status, "retry_after": 3})
    response = ask(server)
    assert response.status_code == status and response.json()["error"]["code"] == status
    assert response.headers["Retry-After"] == "3" and not server.billed()


def test_what_is_no_answer_although_it_says_200(serve: Serve) -> None:
    server = serve(
        models=500,
        rules=[
            {"when": {"words": "html"}, "raw": "<html>busy</html>"},
            {"when": {"words": "torn"}, "raw": '{"choices": [{'},
            {"when": {"words": "error"}, "error": {"message": "overloaded", "code": 529}},
            {"when": {"words": "moved"}, "status": 307, "redirect": "http://127.0.0.2:9/v1"},
            {"when": {"words": "date"}, "status": 429, "retry_after": {"date_s": 9}},
        ],
    )
    assert ask(server, "html").headers["Content-Type"] == "text/html"
    with pytest.raises(ValueError):
        ask(server, "torn").json()
    assert ask(server, "error").json() == {"error": {"message": "overloaded", "code": 529}}
    moved = ask(server, "moved")
    assert (moved.status_code, moved.headers["Location"]) == (307, "http://127.0.0.2:9/v1")
    assert parsedate_to_datetime(ask(server, "date").headers["Retry-After"]).year > 2000
    assert requests.get(f"{server.url}/models", timeout=PATIENCE_S).status_code == 500
    assert not server.billed()


def test_hang_ups_are_logged_and_billed_if_an_answer_was_made(serve: Serve) -> None:
    server = serve(
        rules=[
            {"when": {"words": "before"}, "wire": "hang up"},
            {"when": {"words": "middle"}, "wire": "cut"},
            {"when": {"words": "never"}, "wire": "silent"},
        ]
    )
    for words in ("before", "middle"):
        with pytest.raises(requests.exceptions.RequestException):
            ask(server, words)
    body = {"messages": [{"role": "user", "content": "never"}]}
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{server.url}/chat/completions", json=body, timeout=0.2)
    eventually(lambda: len(server.asked()) == 3)
    assert [(row["billed"], row["whole"], row["hung_up"]) for row in server.asked()] == [
        (True, False, False),
        (True, False, False),
        (False, False, True),
    ]
    assert said(ask(server)) == "ok", "it goes on"


def test_drips_and_connections_that_end_under_the_client(serve: Serve) -> None:
    server = serve(
        default={"text": "word " * 100},
        rules=[
            {"when": {"words": "drip"}, "wire": "drip", "drip_s": 0.001},
            {"when": {"words": "close"}, "wire": "close"},
        ],
    )
    assert said(ask(server, "drip")) == "word " * 100
    body = json.dumps({"messages": [{"role": "user", "content": "close"}]})
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)) as connection:
        connection.request("POST", "/v1/chat/completions", body)
        answer = connection.getresponse()
        assert json.loads(answer.read())["choices"][0]["message"]["content"] == "word " * 100
        assert answer.getheader("Connection") is None and connection.sock.recv(1) == b"", "closed without a word"


def test_ceilings_refuse_what_is_too_much(serve: Serve) -> None:
    server = serve(default={"latency_s": 0.2}, ceiling=[{"at_once": 3, "retry_after": 2}])
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: ask(server, f"{n}"), range(24)))
    refused = [one for one in answers if one.status_code == 429]
    assert refused and all(one.headers["Retry-After"] == "2" for one in refused)
    rows = server.asked()
    assert max(row["at_once"] for row in rows) == 3 and len(server.billed()) == 24 - len(refused)
    assert {row["rule"] for row in rows} == {"default", "at once"}


def test_a_rate_and_a_burst_refuse_by_the_clock(serve: Serve) -> None:
    server = serve(ceiling=[{"per_s": 0.001, "bucket": 5}, {"from_s": 3600, "at_once": 1}])
    assert Counter(ask(server).status_code for _ in range(8)) == {200: 5, 429: 3}
    burst = serve(bursts={"every_s": 3600, "for_s": 3600, "retry_after": 1})
    assert ask(burst).status_code == 429 and burst.asked()[0]["rule"] == "burst"


def test_sixty_four_at_once_lose_nothing_and_a_stop_logs_what_was_under_way(serve: Serve) -> None:
    server = serve(default={"latency_s": [0.001, 0.002]}, rules=[{"when": {"words": "stay"}, "latency_s": 3600}])
    sessions = [requests.Session() for _ in range(64)]
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda n: ask(server, f"{n}", sessions[n % 64]), range(640)))
        assert len(server.billed()) == 640 == len({row["nth"] for row in server.billed()})
        stays = pool.submit(ask, server, "stay")
        eventually(lambda: ask(server) and server.asked()[-1]["at_once"] == 2)
        port = server.port
        server.stop()
        assert isinstance(stays.exception(), requests.exceptions.ConnectionError)
    last = server.asked()[-1]
    assert (last["billed"], last["whole"], last["body"]["messages"][0]["content"]) == (False, False, "stay")
    assert server.start().port == port, "it comes back where it was"
    assert said(ask(server)) == "ok"
