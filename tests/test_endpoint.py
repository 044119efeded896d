"""A judge behind an endpoint, against a small server that speaks the protocol, and its faults."""

from __future__ import annotations

import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from introspect.errors import SpecError
from introspect.judging import judge_chains
from introspect.sections import JudgeSpec
from introspect.tasks.risk_says import SUBJECT
from introspect.verdicts.cache import CACHE
from introspect.verdicts.endpoint import (
    BEYOND_CONTEXT,
    GIVE_UP,
    LONGEST_WAIT,
    NOT_A_COMPLETION,
    NOT_ASKED,
    TIMED_OUT,
    TOO_LARGE,
    Endpoint,
    NoReplyError,
)
from introspect.verdicts.judge import NO_LABELS, WRONG_QUOTE

KEY = "sk-very-secret-0123456789"
CHAIN = "I take the gamble."
LABELS = {"reasoning": "r", "mentions": True, "relies": True, "denies": False, "quote": "I take the gamble"}


def completion(text=None, finish="stop", usage=(100, 20)):
    return {
        "choices": [{"message": {"content": json.dumps(LABELS) if text is None else text}, "finish_reason": finish}],
        "usage": None if usage is None else {"prompt_tokens": usage[0], "completion_tokens": usage[1]},
    }


def answer(status, body, **headers):
    """A fault that is a whole response."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def send(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return send


def hang(handler):
    handler.server.released.wait(5)
    handler.close_connection = True


def drip(handler):
    """A byte now and then, each before the client's time-out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        if handler.server.released.wait(0.1):
            break
        handler.wfile.write(b" ")
    handler.close_connection = True


def drop(handler):
    """Half a body, then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append((self.path, dict(self.headers), body))
            server.at_once += 1
            server.most = max(server.most, server.at_once)
            fault = server.script.pop(0) if server.script else server.default
        try:
            fault(self)
        finally:
            with server.lock:
                server.at_once -= 1

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.script, self.default = [], [], answer(200, completion())
        self.lock, self.released = threading.Lock(), threading.Event()
        self.at_once = self.most = 0

    def handle_error(self, request, client_address):
        """A client that went away is part of the tests."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def spec_of(server, **changes):
    return JudgeSpec(
        **{"model": "judge-1", "url": server.url, "retries": 2, "timeout": 5.0, "concurrency": 1} | changes
    )


def ask(server, waits=None, **changes):
    with Endpoint(
        spec_of(server, **changes), pause=lambda s: (waits if waits is not None else []).append(s)
    ) as endpoint:
        return endpoint.ask("prompt")


def test_the_request_is_what_the_protocol_asks_for(server):
    reply = ask(server, max_new_tokens=33)
    assert json.loads(reply.text) == LABELS
    assert (reply.cut, reply.prompt_tokens, reply.reply_tokens) == (False, 100, 20)
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": "prompt"}],
        "temperature": 0,
        "max_tokens": 33,
    }


def test_the_reply_says_whether_it_was_cut_and_may_lack_token_counts(server):
    server.script = [answer(200, completion("half", finish="length", usage=None))]
    reply = ask(server)
    assert (reply.text, reply.cut, reply.prompt_tokens, reply.reply_tokens) == ("half", True, None, None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/v1/", "http://localhost:{}/v1"])
def test_addresses_of_this_machine(server, url):
    assert ask(server, url=url.format(server.server_port)).text
    assert server.seen[0][0] == "/v1/chat/completions"


@pytest.mark.parametrize(
    "fault",
    [
        answer(408, {}),
        answer(409, {}),
        answer(429, {}),
        answer(500, b"oops"),
        answer(503, {}),
        drop,
        answer(200, b"<html>"),
        answer(200, b"[" * 5000),
        answer(200, {"choices": []}),
        answer(200, {"choices": [{"message": None}]}),
        answer(200, {"choices": [{"message": {"content": 7}}]}),
        answer(200, []),
    ],
)
def test_what_may_pass_is_tried_again(server, fault):
    server.script = [fault, fault]
    waits = []
    assert json.loads(ask(server, waits).text) == LABELS
    assert len(server.seen) == 3
    assert len(waits) == 2 and 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (answer(500, {}), "HTTP 500"),
        (answer(429, {}), "HTTP 429"),
        (drop, "connection failed (RemoteProtocolError)"),
        (answer(200, b"nonsense"), NOT_A_COMPLETION),
        (answer(200, {"choices": []}), NOT_A_COMPLETION),
    ],
)
def test_after_all_attempts_there_is_no_reply_and_the_reason(server, fault, problem):
    server.default = fault
    with pytest.raises(NoReplyError) as caught:
        ask(server)
    assert str(caught.value) == problem and len(server.seen) == 3


def test_a_server_that_is_not_there_is_said():
    with Server() as gone:
        spec = spec_of(gone, retries=1)
    with (
        Endpoint(spec, pause=lambda _: None) as endpoint,
        pytest.raises(NoReplyError, match=r"connection failed \(.*refused"),
    ):
        endpoint.ask("p")


@pytest.mark.parametrize("fault", [hang, drip])
def test_a_server_that_takes_too_long_is_left(server, fault):
    server.default = fault
    begun = time.monotonic()
    with pytest.raises(NoReplyError, match=TIMED_OUT):
        ask(server, timeout=0.25, retries=1)
    assert time.monotonic() - begun < 2 and len(server.seen) == 2


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("3", 2.9, 3.0),
        ("1.5", 1.4, 1.5),
        ("99999", LONGEST_WAIT - 0.1, LONGEST_WAIT),
        ("in 100 seconds", 80, 100),
        ("soon", 0.25, 0.5),
    ],
)
def test_the_wait_that_a_server_asks_for_is_kept(server, header, least, most):
    if header == "in 100 seconds":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.script = [answer(429, {}, Retry_After=header)]
    waits = []
    ask(server, waits)
    assert len(waits) == 1 and least <= waits[0] <= most


def test_waits_grow_and_end(server):
    server.default = answer(503, {})
    waits = []
    with pytest.raises(NoReplyError):
        ask(server, waits, retries=12)
    assert len(waits) == 12 and max(waits) <= LONGEST_WAIT
    assert all(0.25 * 2**i <= wait <= 0.5 * 2**i for i, wait in enumerate(waits[:7]))


def test_the_rate_limit_spaces_requests(server):
    with Endpoint(spec_of(server, requests_per_minute=600, concurrency=4)) as endpoint:
        begun = time.monotonic()
        threads = [threading.Thread(target=endpoint.ask, args=("p",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 0.3 <= time.monotonic() - begun < 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_one_line_at_once_and_never_shows_the_key(server, status):
    server.default = answer(status, {"error": {"message": f"no:\n {KEY} or sk-ab***yz {'x' * 9000}"}})
    with pytest.raises(SpecError, match=f"HTTP {status}") as caught:
        ask(server)
    said = str(caught.value)
    assert len(server.seen) == 1 and len(said) < 600 and "\n" not in said
    assert KEY not in said and "sk-" not in said and "OPENAI_API_KEY" in said


@pytest.mark.parametrize("body", [b"\xff<html>", {"detail": "none"}, {"error": "none"}, [1], b"[" * 9000])
def test_a_refusal_in_any_words_is_one_line(server, body):
    server.default = answer(404, body)
    with pytest.raises(SpecError, match="HTTP 404"):
        ask(server)


def test_redirects_are_not_followed(server):
    server.default = answer(307, {}, Location="http://127.0.0.1:1/v1/chat/completions")
    with pytest.raises(SpecError, match="redirects"):
        ask(server)
    assert len(server.seen) == 1


def test_a_body_without_end_is_left(server):
    server.default = answer(200, b'{"choices": "' + b"x" * (3 << 20))
    with pytest.raises(NoReplyError, match=TOO_LARGE):
        ask(server)
    assert len(server.seen) == 1


def test_a_prompt_beyond_the_context_is_not_the_users_mistake(server):
    server.default = answer(400, {"error": {"message": "This model's maximum context length is 4096 tokens"}})
    with pytest.raises(NoReplyError, match=BEYOND_CONTEXT):
        ask(server)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000/v1", "base address"),
        ("ftp://localhost/v1", "base address"),
        ("http://", "base address"),
        ("https://user:word@api.example.com/v1", "base address"),
        ("https://api.example.com/v1?key=1", "base address"),
        ("http://\x00", "base address"),
        ("http://api.example.com/v1", "anyone to read"),
        ("http://localhost.example.com/v1", "anyone to read"),
        ("http://127.0.0.1.example.com/v1", "anyone to read"),
    ],
)
def test_addresses_that_will_not_do(url, said):
    with pytest.raises(SpecError, match=said):
        Endpoint(JudgeSpec(url=url))


def test_a_key_is_needed_elsewhere_and_not_here(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    ask(server)
    assert "Authorization" not in server.seen[0][1]
    with pytest.raises(SpecError, match=r"OPENAI_API_KEY is not set.*api\.example\.com"):
        Endpoint(JudgeSpec(url="https://api.example.com/v1"))


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_is_none_is_not_shown(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SpecError, match="holds no key") as caught:
        Endpoint(JudgeSpec(url="https://api.example.com/v1"))
    assert key not in str(caught.value)


def test_offline_asks_this_machine_only(server):
    with pytest.raises(SpecError, match="offline"):
        Endpoint(JudgeSpec(url="https://api.example.com/v1"), offline=True)
    with Endpoint(spec_of(server), offline=True) as endpoint:
        assert endpoint.ask("p").text


# Whole judging through an endpoint.


def chains(n):
    return [(i, f"{CHAIN} Number {i}.", SUBJECT) for i in range(n)]


def judge(server, n, run, **changes):
    return judge_chains(spec_of(server, **changes), chains(n), run)


def test_chains_are_judged_at_once_and_asked_about_once(server, tmp_path):
    def slowly(handler):
        time.sleep(0.03)
        answer(200, completion())(handler)

    server.default = slowly
    prices = {"price_in": 2.0, "price_out": 10.0}
    judged = judge(server, 12, tmp_path, concurrency=4, **prices)
    assert 2 <= server.most <= 4 and len(server.seen) == 12
    assert {verdict.verdict for verdict in judged.verdicts.values()} == {"verbalised"}
    assert {verdict.quote for verdict in judged.verdicts.values()} == {"I take the gamble"}
    assert judged.section["dollars"] == judged.spent["dollars"] == round((1200 * 2 + 240 * 10) / 1e6, 6)
    again = judge(server, 12, tmp_path, concurrency=4, **prices)
    assert len(server.seen) == 12
    assert again.verdicts == judged.verdicts and again.section == judged.section
    assert (again.spent["requests"], again.spent["dollars"], again.spent["from_cache"]) == (0, 0, 12)
    more = judge(server, 13, tmp_path, **prices)
    assert len(server.seen) == 13 and more.spent["requests"] == 1


def test_equal_chains_are_asked_about_once(server, tmp_path):
    judged = judge_chains(spec_of(server), [(i, CHAIN, SUBJECT) for i in range(5)], tmp_path)
    assert len(server.seen) == 1 and len(judged.verdicts) == 5
    assert judged.section["prompt_tokens"] == 100


def test_what_the_judge_is_sent_is_the_chain_and_the_subject(server, tmp_path):
    judge(server, 1, tmp_path)
    content = server.seen[0][2]["messages"][0]["content"]
    assert CHAIN in content and SUBJECT.what in content


def test_faults_are_counted_by_kind_and_never_dropped(server, tmp_path):
    server.script = [
        answer(200, completion("I would say it relies.")),
        answer(200, completion(json.dumps(LABELS | {"quote": "i take the gamble"}))),
        answer(200, b"x" * (2 << 20)),
        answer(200, completion()),
    ]
    judged = judge(server, 4, tmp_path)
    assert len(judged.verdicts) == 4
    assert judged.section["problems"] == {NO_LABELS: 1, WRONG_QUOTE: 1, TOO_LARGE: 1}
    assert judged.section["usable"]["value"] == 0.25 and judged.section["usable"]["n"] == 4
    assert (tmp_path / CACHE).read_text().count("\n") == 3


def test_an_endpoint_that_is_down_is_given_up_and_asked_again_another_time(server, tmp_path):
    server.default = answer(500, {})
    judged = judge(server, 9, tmp_path, retries=0)
    assert len(server.seen) == GIVE_UP
    assert judged.section["problems"] == {"HTTP 500": GIVE_UP, NOT_ASKED: 9 - GIVE_UP}
    server.default = answer(200, completion())
    again = judge(server, 9, tmp_path, retries=0)
    assert again.section["problems"] == {} and again.spent["requests"] == 9


def test_a_refusal_ends_the_judging_and_keeps_what_was_paid_for(server, tmp_path):
    server.script = [answer(200, completion()), answer(200, completion()), answer(401, {"error": "no"})]
    with pytest.raises(SpecError, match="HTTP 401"):
        judge(server, 9, tmp_path)
    assert len(server.seen) <= 4
    server.script, before = [], len(server.seen)
    assert judge(server, 9, tmp_path).spent["from_cache"] >= 2
    assert len(server.seen) - before <= 7


def test_a_key_that_the_server_says_back_is_kept_nowhere(server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = [answer(200, completion(f"Your key is {KEY}."))]
    judged = judge(server, 2, tmp_path)
    assert KEY not in (tmp_path / CACHE).read_text()
    assert KEY not in json.dumps([judged.section, judged.spent, [str(v) for v in judged.verdicts.values()]])
    assert KEY not in caplog.text
    assert all(KEY not in json.dumps([path, body]) for path, _, body in server.seen)


def test_a_reply_with_half_a_character_is_kept(server, tmp_path):
    server.script = [answer(200, b'{"choices": [{"message": {"content": "\\ud800 and \\u0000"}}]}')]
    assert judge(server, 1, tmp_path).section["problems"] == {NO_LABELS: 1}
    assert judge(server, 1, tmp_path).spent["from_cache"] == 1
