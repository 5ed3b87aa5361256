"""One exchange with an endpoint: whatever comes back, it is an Answer or a Failure of a known kind, in time."""

import datetime
import email.utils
import ipaddress
import json
import socket
import ssl
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from agents.models import endpoint
from agents.models.endpoint import MAX_SHOWN, MAX_WAIT_S, Answer, Failure, retry_after
from agents.models.profile import Profile
from tests.processes import PATIENCE_S
from tests.raw import Raw, http, said

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
HTTP_307 = "307 Temporary Redirect"


def ask(server: Raw, timeout_s: float = PATIENCE_S, key: str = "") -> Answer:
    profile = Profile("one", server.url, "m", timeout_s=timeout_s)
    return endpoint.ask(endpoint.session(), profile, key, [{"role": "user", "content": "?"}], {"max_tokens": 9})


def failure(server: Raw, **more: Any) -> Failure:
    with pytest.raises(Failure) as raised:
        ask(server, **more)
    assert "\n" not in str(raised.value) and len(str(raised.value)) <= MAX_SHOWN + len("one: ")
    return raised.value


@pytest.mark.parametrize(
    "reply",
    [
        *(said(content) for content in ({"text": "x"}, 5, True, [5], [{"text": {}}])),
        *(http(b"data: " + one + b"\n\n") for one in (b"5", b"[]", b'{"choices": 5}', b'{"choices": [5]}', b"{")),
        *(
            http(b'data: {"choices": [{"delta": %s}]}\n\n' % one)
            for one in (b'"x"', b"5", b'{"content": 5}', b'{"content": {}}')
        ),
        *(http(one) for one in (b"", b"5", b"[]", b'"x"', b'{"choices": 5}', b'{"choices": [{"message": "x"}]}')),
        *(http(one) for one in (b'{"choices": {}}', b'{"choices": [5]}', b"\xff\xfe", b"[" * 100_000, b"9" * 5000)),
    ],
    ids=lambda reply: reply[-50:].decode("latin-1").split("\r\n")[-1],
)
def test_an_odd_200_is_malformed_and_may_be_billed(reply: bytes) -> None:
    with Raw(reply) as server:
        assert (found := failure(server)).kind == "malformed" and found.sent


@pytest.mark.parametrize(
    "where", [b"\xff", b"http://[::1", b"http://127.0.0.1:1/", b"", b"x" * 9000], ids=lambda one: one[:20]
)
def test_a_redirect_is_told_wherever_it_leads_and_costs_nothing(where: bytes) -> None:
    with Raw(http(b"", HTTP_307, b"Location: " + where)) as server:
        assert (found := failure(server)).kind == "redirect" and not found.sent and len(server.heard) == 1


def test_the_time_holds_for_headers_and_body_that_drip() -> None:
    for first in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"HTTP"):
        server = Raw()
        server.replies = [server.drip(first, b"x")]
        with server:
            assert (found := failure(server, timeout_s=0.3)).kind == "timeout" and found.sent


def test_of_a_redirect_no_body_is_waited_for() -> None:
    server = Raw()
    server.replies = [server.drip(b"HTTP/1.1 307 Moved\r\nLocation: /x\r\nContent-Length: 99999999\r\n\r\n", b"x")]
    with server:
        assert failure(server).kind == "redirect"


def test_an_open_connection_has_its_whole_time_again() -> None:
    with Raw(said("first"), said("second")) as server:
        session = endpoint.session()
        profile = Profile("one", server.url, "m", timeout_s=0.5)
        for text in ("first", "second"):
            answer = endpoint.ask(session, profile, "", [{"role": "user", "content": "?"}], {"max_tokens": 9})
            assert answer.text == text
            time.sleep(0.6)  # longer than an exchange may take


@pytest.mark.parametrize(
    ("finish", "what"),
    [
        *((one, "stop") for one in ("stop", "eos_token", "END_TURN", "stop_sequence")),
        *((one, "unknown") for one in (None, "")),
        *((one, "length") for one in ("length", "MAX_TOKENS", "model_length", "incomplete", "tool_calls", 5, {"a": 1})),
        *((one, "filter") for one in ("content_filter", "SAFETY")),
    ],
    ids=str,
)
def test_only_an_answer_that_is_known_to_be_whole_counts_as_whole(finish: Any, what: str) -> None:
    with Raw(said("It is me.", finish)) as server:
        assert ask(server).finish == what


@pytest.mark.parametrize("finish", ["error", "abort", "cancelled"])
def test_an_answer_that_its_server_broke_off_is_none(finish: str) -> None:
    with Raw(said("It is m", finish)) as server:
        assert (found := failure(server)).kind == "server" and found.sent and finish in str(found)


@pytest.mark.parametrize("lead", [b": OPENROUTER PROCESSING\n\n", b"event: message\n", b"id: 1\n", b"\n:\n"])
def test_a_stream_may_begin_with_what_is_no_data(lead: bytes) -> None:
    parts = b'data: {"choices": [{"delta": {"content": "It is "}}]}\n\n: ping\n\ndata: {"choices": [{"delta": '
    parts += b'{"content": "me."}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    with Raw(http(lead + parts)) as server:
        answer = ask(server)
    assert (answer.text, answer.finish) == ("It is me.", "stop")


def test_a_stream_that_ends_in_an_error_is_no_answer() -> None:
    parts = (
        b'data: {"choices": [{"delta": {"content": "It is "}}]}\n\ndata: {"error": {"code": 502, "message": "lost"}}'
    )
    with Raw(http(parts + b"\n\n")) as server:
        assert (found := failure(server)).kind == "server" and "lost" in str(found)


@pytest.mark.parametrize("count", [2**63, 10**30, -1, 1.5, True, "7", None], ids=str)
def test_a_count_that_cannot_be_is_none(count: Any) -> None:
    for usage in ({"prompt_tokens": count, "completion_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": count}):
        with Raw(said("x", usage=usage)) as server:
            assert not ask(server).tokens.counted
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": count}}
    with Raw(said("x", usage=usage)) as server:
        assert (tokens := ask(server).tokens).counted and tokens.cached == 0


def test_half_a_character_becomes_a_mark() -> None:
    with Raw(said("a\ud800b", model="m\udfff")) as server:
        answer = ask(server)
    assert (answer.text, answer.model) == ("a?b", "m?") and json.dumps(answer.text).encode()


def test_no_compression_is_asked_for_and_what_comes_nevertheless_is_read() -> None:
    plain = said("It is me.").partition(b"\r\n\r\n")[2]
    packed = zlib.compressobj(wbits=31)
    with Raw(http(packed.compress(plain) + packed.flush(), "200 OK", b"Content-Encoding: gzip")) as server:
        assert ask(server).text == "It is me." and "Accept-Encoding: identity" in server.heard[0]


# -- when to come back ------------------------------------------------------------------------------------------


def date(in_s: float) -> str:
    return email.utils.formatdate(time.time() + in_s, usegmt=True)


def test_a_wait_is_read_as_seconds_or_by_the_servers_own_clock() -> None:
    assert [retry_after(one) for one in ("7", "0.5", "-3", "", None, "soon")] == [7.0, 0.5, 0.0, None, None, None]
    assert [retry_after(one) for one in ("inf", "nan", "-inf", "1e999")] == [None] * 4
    assert retry_after(date(90_030), date(90_000)) == 30.0, "whose clock is a day ahead"
    assert retry_after(date(-50), date(0)) == 0.0 and retry_after("Fri, 99 Foo 12345 00:00:00 GMT") is None
    assert (retry_after(date(100)) or 0) > 0, "without one, by ours"


@pytest.mark.parametrize("value", ["1e9", "86400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_without_end_is_cut_and_told(value: str) -> None:
    with Raw(http(b"later", "429 Too Many Requests", b"Retry-After: " + value.encode())) as server:
        found = failure(server)
    assert (found.kind, found.retry_after_s) == ("busy", MAX_WAIT_S)
    assert "it wants to be left alone for " in str(found) and "and is for 3600" in str(found)
    with Raw(http(b"later", "429 Too Many Requests", b"Retry-After: 60")) as server:
        assert str(failure(server)) == "one: 429: later"


# -- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", range(MAX_SHOWN - len(KEY) - 12, MAX_SHOWN, 7))
def test_no_half_of_a_key_is_left_where_an_error_is_cut(pad: int) -> None:
    escaped = "".join(f"\\u{ord(one):04X}" for one in KEY)
    padding = "e" * pad
    replies = [
        http(f"{padding}{KEY}".encode(), "400 Bad Request"),
        http(f"{padding}{escaped}".encode(), "400 Bad Request"),
        http(f'{{"error": {{"code": 400, "message": "{padding}{escaped}"}}}}'.encode()),
        http(f'{{"choices": "{padding}{escaped}"}}'.encode()),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + f"{padding}{KEY}".encode() + b"\r\n",
    ]
    for reply in replies:
        with Raw(reply) as server:
            told = str(failure(server, key=KEY))
        assert KEY[:6] not in told and "\\u0073\\u006B" not in told, told


# -- certificates -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate of 127.0.0.1 that only itself vouches for."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = made.add_extension(address, critical=False)
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, form, plain) + made.sign(key, hashes.SHA256()).public_bytes(pem))
    return path


def context(certificate: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


def test_a_companys_own_certificates_are_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Raw(said("It is me."), tls=context(certificate)) as server:
        found = failure(server)
        assert (found.kind, found.sent) == ("auth", False) and "certificate verify failed" in str(found)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert ask(server).text == "It is me."
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        found = failure(server)
        assert not found.sent and "/nowhere/ca.pem" in str(found) and len(server.heard) == 1


def test_a_server_that_speaks_no_tls_is_a_wrong_endpoint() -> None:
    with Raw(greeting=http(b"", "400 Bad Request")) as server:
        profile = Profile("one", server.url.replace("http:", "https:"), "m", timeout_s=PATIENCE_S)
        with pytest.raises(Failure, match="wrong version number") as raised:
            endpoint.ask(endpoint.session(), profile, "", [{"role": "user", "content": "?"}], {"max_tokens": 9})
    assert (raised.value.kind, raised.value.sent) == ("auth", False)


def test_a_torn_record_is_no_wrong_key(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    def torn(connection: ssl.SSLSocket) -> None:
        with socket.socket(fileno=connection.detach()) as below:  # past the library
            below.sendall(b"\x17\x03\x03\x00\x10" + b"x" * 16)

    with Raw(torn, tls=context(certificate)) as server:
        found = failure(server)
    assert (found.kind, found.sent) == ("connection", True), found
