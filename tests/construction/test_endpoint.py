"""The endpoint writer against a server of our own that misbehaves; nothing is lost, nothing is paid for twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from helpers.chat_server import KEY, ChatServer
from helpers.shells import ROOT

from speechprune.cli import main
from speechprune.construction.drafts import read_drafts
from speechprune.construction.plan import make_plan, write_plan
from speechprune.construction.prompt_files import copy_prompts
from speechprune.construction.topics import read_topics

PRICE = 900 / 1e6 * 2 + 500 / 1e6 * 10  # dollars a reply, at 2,10


@pytest.fixture
def build(tmp_path, monkeypatch) -> Path:
    """A plan of eight samples, each about a subtopic of its own."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    write_plan(tmp_path, make_plan(read_topics(), 8, (20.0, 30.0), {"test": 1.0}, 0))
    copy_prompts(tmp_path)
    return tmp_path


@pytest.fixture
def server(build):
    server = ChatServer(make_plan(read_topics(), 8, (20.0, 30.0), {"test": 1.0}, 0))
    yield server
    server.close()


def words(build: Path, server: ChatServer, *more: str) -> list[str]:
    options = ["--base-url", server.url, "--price", "2,10", "--retries", "3", *more]
    return ["write", str(build), "--writer", "endpoint", *options]


def call(build: Path, server: ChatServer, *more: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, words(build, server, *more))
    assert result.exit_code == code, result.output
    return result.output


def topics(server: ChatServer) -> list[str]:
    return list(server.briefs)


def replies(build: Path) -> list[dict]:
    return [json.loads(line) for line in (build / "replies.jsonl").read_text().splitlines()]


def assert_no_key(folder: Path, *texts: str) -> None:
    assert [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert not [text for text in texts if KEY in text]


def test_a_server_that_misbehaves_in_every_way(build, server, caplog):
    kinds = (["429", "500"], ["503", "cut"], ["no json"], ["schema"], ["length"], ["bad key", "no draft"], ["refusal"])
    server.faults |= dict(zip(topics(server), kinds, strict=False))
    call(build, server)
    rows = read_drafts(build, [])
    assert [row.brief.subtopic for row in rows] == topics(server)
    assert [row.attempts for row in rows] == [1, 1, 2, 2, 2, 3, 2, 1]
    # What did not arrive was not paid for; every reply that did is kept whole, with its price.
    assert sum(server.paid.values()) == len(replies(build)) == 14
    assert replies(build)[0]["body"].startswith("{") or replies(build)[0]["body"] == "<html>busy"
    good = [row for row in replies(build) if row["tokens"] == [900, 500]]
    assert len(good) == 13 and all(row["dollars"] == pytest.approx(PRICE) for row in good)
    told = [request["messages"][-1]["content"] for _, request in server.requests if "was refused" in str(request)]
    assert any("the key sentence stands 0 times" in text for text in told)
    assert any("distractors: Input should be a valid list" in text for text in told)
    assert any("the reply was cut off at its longest" in text for text in told)
    # A second run calls nobody.
    count = len(server.requests)
    call(build, server)
    assert len(server.requests) == count
    (build / "samples.jsonl").unlink()
    call(build, server)
    assert len(server.requests) == count
    assert_no_key(build, caplog.text)


def test_requests_are_as_the_api_wants_them(build, server):
    call(build, server, "--temperature", "0.5")
    headers, request = server.requests[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert (request["model"], request["temperature"]) == ("gpt-4o", 0.5)
    schema = request["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["additionalProperties"] is False
    assert set(schema["schema"]["required"]) == set(schema["schema"]["properties"])
    brief = server.briefs[topics(server)[0]]
    texts = [request["messages"][1]["content"] for _, request in server.requests]
    (text,) = [text for text in texts if f"in it: {brief.subtopic}\n" in text]
    assert f"Length: about {brief.words} words" in text
    assert not any(f"${slot}" in text for slot in ("words", "spoken", "schema", "faults", "longest"))


def test_what_fails_for_good_is_a_row_with_its_reason(build, server):
    first, second = topics(server)[:2]
    server.faults[first] = ["bad key"] * 9
    server.faults[second] = ["500"] * 4
    assert "1 samples got no reply; run the same command again" in call(build, server, "--attempts", "2", code=1)
    failed = [json.loads(line) for line in (build / "failed.jsonl").read_text().splitlines()]
    assert [row["again"] for row in failed] == [False, True]
    assert "the key sentence stands 0 times" in failed[0]["reasons"][0]
    assert "answered 500" in failed[1]["reasons"][0]
    # What did not come is asked for again; what was refused is not, until more drafts are allowed.
    call(build, server, "--attempts", "2")
    assert server.paid == {topic: 2 if topic == first else 1 for topic in topics(server)}
    server.faults.clear()
    call(build, server, "--attempts", "3")
    assert (build / "failed.jsonl").read_text() == ""
    assert len(read_drafts(build, [])) == 8


def test_the_budget_holds_and_can_be_raised(build, server):
    options = ("--max-cost", str(4.5 * PRICE), "--concurrent", "1", "--max-tokens", "500")
    assert "--max-cost" in call(build, server, *options, code=1)
    kept = len(read_drafts(build, []))
    assert 1 <= kept <= 4
    assert sum(row["dollars"] for row in replies(build)) <= 4.5 * PRICE
    call(build, server, "--max-cost", "1")
    assert len(read_drafts(build, [])) == 8
    assert set(server.paid.values()) == {1}


def test_retry_after_is_obeyed(build, server):
    first = topics(server)[0]
    server.faults[first] = ["429"]
    server.retry_after = 0.9  # the client's own first pause is 0.5 s at most
    call(build, server, "--concurrent", "1")
    assert server.times[1] - server.times[0] >= 0.9
    assert len(server.requests) == 9


def test_no_more_calls_than_a_minute_allows(build, server, monkeypatch):
    monkeypatch.setattr("speechprune.construction.chat.Duration", SimpleNamespace(MINUTE=600))  # milliseconds
    call(build, server, "--requests-per-minute", "4", "--concurrent", "4")
    times = sorted(server.times)
    assert len(times) == 8
    assert times[4] - times[0] >= 0.5


def test_a_slow_reply_is_given_up_and_asked_for_again(build, server):
    server.faults[topics(server)[0]] = ["hold"]
    call(build, server, "--timeout", "1.5", "--concurrent", "8")
    assert len(server.requests) >= 9
    assert len(read_drafts(build, [])) == len(replies(build)) == 8


def test_an_estimate_calls_nobody(build, server, caplog):
    caplog.set_level("INFO")
    call(build, server, "--estimate")
    assert "8 samples by gpt-4o: about" in caplog.text and "$0.0" in caplog.text
    assert server.requests == []


@pytest.mark.parametrize(("status", "requests"), [("401", 1), ("500", 5)])
def test_a_run_that_cannot_succeed_ends_early(build, server, caplog, status, requests):
    server.faults |= {topic: [status] * 9 for topic in topics(server)}
    output = call(build, server, "--retries", "0", "--concurrent", "1", code=1)
    assert f"answered {status}" in output and "0 of 8 samples are written" in output
    assert len(server.requests) == requests
    assert_no_key(build, caplog.text, output)
    assert "sk-" not in output + caplog.text  # nor the beginning of one that a message had no room for


def test_a_key_that_comes_back_is_hidden(build, server):
    server.faults[topics(server)[0]] = ["echo", "echo"]
    call(build, server, "--attempts", "2")
    assert "***" in (build / "replies.jsonl").read_text()
    assert_no_key(build)


def test_no_call_without_a_key_or_with_one_in_the_address(build, server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    plain = ["write", str(build), "--writer", "endpoint"]
    for more, message in (
        ([], "OPENAI_API_KEY is not set"),
        (["--base-url", "http://a:b@c/v1"], "a key belongs into OPENAI_API_KEY"),
        (["--base-url", "c/v1"], "expected an address with http:// or https://"),
        (["--base-url", server.url, "--model", "m", "--max-cost", "1"], "the price of m is not known"),
    ):
        result = CliRunner().invoke(main, [*plain, *more])
        assert (result.exit_code, message in result.output) == (1, True), result.output
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nmore")
    output = call(build, server, code=1)
    assert "what it holds is no key" in output and KEY not in output
    monkeypatch.delenv("OPENAI_API_KEY")
    assert server.requests == []
    call(build, server)  # an endpoint of one's own needs none


def test_killed_in_the_middle_and_made_again(build, server):
    """Five samples are paid for when SIGKILL comes; the sixth is under way, and never answered."""
    server.faults[topics(server)[5]] = ["hold"]
    line = [sys.executable, "-m", "speechprune", *words(build, server, "--concurrent", "1")]
    process = subprocess.Popen(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(server.requests) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(replies(build)) == 5
    with (build / "replies.jsonl").open("a") as file:
        file.write('{"key": "torn by the kil')
    before = dict(server.paid)
    call(build, server, "--concurrent", "1")
    assert [row.brief.subtopic for row in read_drafts(build, [])] == topics(server)
    assert before == {topic: 1 for topic in topics(server)[:5]}
    assert server.paid == {topic: 1 for topic in topics(server)}


def test_questions_that_can_be_answered_without_the_recording_are_left_out(build, server):
    call(build, server)
    seen: list[str] = []

    def blind(text: str) -> str:
        seen.append(text)
        return next(letter for letter in "ABCD" if f"{letter}. {answer}\n" in f"{text}\n")

    answer = read_drafts(build, [])[0].draft.answer
    server.blind = lambda text: blind(text) if f" {answer}\n" in f"{text}\n" else "unknown"
    options = ["--base-url", server.url, "--price", "2,10", "--answerable", "--allow-skew"]
    result = CliRunner().invoke(main, ["check", str(build), *options])
    assert result.exit_code == 0, result.output
    left = [json.loads(line) for line in (build / "left_out.jsonl").read_text().splitlines()]
    assert left[0]["reason"] == "answered without the recording by gpt-4o"
    transcript = read_drafts(build, [])[0].draft.sentences
    assert seen and not any(sentence in seen[0] for sentence in transcript)
    count = server.paid["blind"]
    assert CliRunner().invoke(main, ["check", str(build), *options]).exit_code == 0
    assert server.paid["blind"] == count == 8
