"""The endpoint engine against a server on this machine that misbehaves as it is told."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechprune.alignment import Sentence
from speechprune.tts import get_engine
from speechprune.tts.openai_speech import Endpoint
from speechprune.tts.transcripts import Synthesis

KEY = "sk-secret-0123456789"


def wav(seconds: float = 0.5, channels: int = 1) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, np.full((int(24_000 * seconds), channels), 0.25, np.float32), 24_000, format="WAV")
    return data.getvalue()


class Server:
    """Speaks; ``faults`` are what the next requests meet, ``asked`` what came: (time, headers, body)."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.asked: list[tuple[float, dict, dict]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.asked.append(
                    (time.monotonic(), {name.lower(): value for name, value in self.headers.items()}, body)
                )
                fault = owner.faults.pop(0) if owner.faults else ""
                status, data = 200, wav()
                if fault.isdigit():
                    status, data = (
                        int(fault),
                        json.dumps(
                            {"error": {"message": f"you are not allowed in: {self.headers['Authorization']}"}}
                        ).encode(),
                    )
                elif fault == "text":
                    data = f"<html>you are {self.headers['Authorization']}".encode()
                elif fault == "silence":
                    data = wav(0.0)
                elif fault == "stereo":
                    data = wav(channels=2)
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "0.3")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
                self.close_connection = fault == "cut"

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", _quick(), raising=True)
    server = Server()
    yield server
    server.close()


def _quick():
    """The client's own backoff without its wait, where the server asks for none."""
    from openai._base_client import BaseClient

    real = BaseClient._calculate_retry_timeout

    def timeout(self, remaining, options, headers=None):
        asked = self._parse_retry_after_header(headers)
        return real(self, remaining, options, headers) if asked else 0.01

    return timeout


def test_it_asks_for_the_voice_and_the_speed_and_takes_what_comes(server):
    server.faults = ["stereo"]
    said = Endpoint(server.url).speak("Good morning.", "nova", rate=85)
    assert (said.sampling_rate, said.duration, said.words) == (24_000, 0.5, ())
    assert said.samples == pytest.approx(0.25, abs=1e-3)
    _, headers, body = server.asked[0]
    assert body == {"model": "tts-1", "voice": "nova", "input": "Good morning.", "response_format": "wav", "speed": 0.5}
    assert headers["authorization"] == f"Bearer {KEY}"


def test_what_passes_is_tried_again_and_retry_after_is_obeyed(server):
    server.faults = ["500", "cut", "429"]
    assert Endpoint(server.url).speak("Good morning.", "nova").duration == 0.5
    times = [when for when, _, _ in server.asked]
    assert len(times) == 4
    assert times[3] - times[2] >= 0.3


@pytest.mark.parametrize(
    ("faults", "error", "message", "calls"),
    [
        (["401"], OSError, "answered 401", 1),
        (["500"] * 9, OSError, "answered 500", 7),
        (["text"], ValueError, "bytes that are no audio: <html>you are", 1),
        (["silence"], ValueError, "audio of no length", 1),
    ],
)
def test_what_does_not_pass_is_one_sentence_without_the_key(server, caplog, faults, error, message, calls):
    caplog.set_level(logging.DEBUG)
    server.faults = faults
    with pytest.raises(error, match=message) as caught:
        Endpoint(server.url).speak("Good morning.", "nova")
    assert len(server.asked) == calls
    assert "sk-" not in str(caught.value)  # the beginning of a key that a message has no room for is hidden, too
    assert KEY not in caplog.text


def test_a_transcript_is_spoken_by_the_voices_of_a_file(server, tmp_path):
    settings = tmp_path / "speech.yaml"
    settings.write_text(f"base_url: {server.url}\nvoices: {{anna: F, ben: M}}\nmodel: kokoro\n")
    synthesis = Synthesis.read(f"endpoint:{settings}", level=-20.0)
    sentences = [Sentence("Good morning.", "a", "F"), Sentence("Hello.", "b", "M")]
    recording, said = synthesis.speak("talk", sentences, tmp_path / "talk.wav")
    assert [(body["model"], body["voice"]) for _, _, body in server.asked] == [("kokoro", "anna"), ("kokoro", "ben")]
    assert recording.sampling_rate == 16_000
    assert [s.duration for s in said.values()] == [0.5, 0.5]
    assert KEY not in json.dumps(synthesis.identity)
    assert synthesis.engine.identity != Endpoint(server.url).identity
    assert KEY.encode() not in b"".join(path.read_bytes() for path in Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_url: ftp://x/v1\nvoices: {a: F}", "base_url ftp://x/v1: expected an address with http"),
        ("base_url: http://me:secret@x/v1\nvoices: {a: F}", "a key belongs into OPENAI_API_KEY"),
        ("base_url: http://x/v1\nvoices: {a: female}", r"voices are .*expected {NAME: F or M, \.\.}"),
        ("base_url: http://x/v1\nvoices: {a: F}\nmodel: 7", "model is 7, expected a name"),
        ("base_url: http://x/v1\nvoices: {a: F}\napi_key: x", "unknown key 'api_key'; choose from: base_url, model"),
        ("voices: {a: F}", "base_url None: expected an address"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, text, message):
    (tmp_path / "speech.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Endpoint(str(tmp_path / "speech.yaml"))


def test_an_address_and_a_key_are_needed(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="--tts endpoint: give its address"):
        get_engine("endpoint")
    with pytest.raises(ValueError, match="OPENAI_API_KEY is not set in the environment"):
        Endpoint("https://api.openai.com/v1")
    with pytest.raises(ValueError, match="has no voice 'nobody'; those given are: coral"):
        Endpoint("http://localhost:1/v1").speak("hello", "nobody")
