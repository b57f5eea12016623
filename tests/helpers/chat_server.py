"""An OpenAI-compatible chat endpoint on this machine that misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from speechprune.construction.plan import Brief
from speechprune.construction.writers.templated import Templated

KEY = "sk-secret-0123456789"


class ChatServer:
    """Writes good drafts for the briefs that it is given.

    Attributes:
        faults: {subtopic: what its next requests meet, first to last}; after them all is well.
        paid: {subtopic: whole replies that were sent}.
        requests, times: headers and body of each request, and when it came.
        retry_after: seconds that it asks for with every error.
        held: where a "hold" waits until the test sets it.
    """

    def __init__(self, briefs: list[Brief]) -> None:
        self.briefs = {brief.subtopic: brief for brief in briefs}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.paid: Counter[str] = Counter()
        self.requests: list[tuple[dict, dict]] = []
        self.times: list[float] = []
        self.retry_after = 0.05
        self.held = threading.Event()
        self.blind: Callable[[str], str] = lambda text: "unknown"
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.answer(self)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self) -> None:
        self.held.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        request = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        text = request["messages"][-1]["content"]
        with self._lock:
            self.requests.append(({name.lower(): value for name, value in http.headers.items()}, request))
            self.times.append(time.monotonic())
            topic = next((name for name in self.briefs if f"in it: {name}\n" in text), "blind")
            fault = self.faults[topic].pop(0) if self.faults[topic] else "none"
        if fault == "hold":
            self.held.wait(60)
        if fault.isdigit():
            body = json.dumps(
                {"error": {"message": f"you are not allowed in: {http.headers['Authorization']}", "code": fault}}
            )
            return self._send(http, int(fault), body.encode())
        if fault == "cut":
            return self._send(http, 200, self._body(topic, text, "none"), cut=True)
        self._send(http, 200, b"<html>busy" if fault == "no json" else self._body(topic, text, fault))
        with self._lock:
            self.paid[topic] += 1

    def _body(self, topic: str, text: str, fault: str) -> bytes:
        content = json.dumps({"answer": self.blind(text)}) if topic == "blind" else self._draft(topic, fault)
        reason = "length" if fault == "length" else "stop"
        message = {"role": "assistant", "content": content[:50] if reason == "length" else content}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot write that."}
        usage = {"prompt_tokens": 900, "completion_tokens": 500, "total_tokens": 1400}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()

    def _draft(self, topic: str, fault: str) -> str:
        draft = Templated().draft(self.briefs[topic], 0).model_dump()
        if fault == "schema":
            draft["distractors"] = "none"
        if fault == "bad key":
            draft["key_sentence"] = "Nobody said that."
        if fault == "echo":
            draft["question"] = KEY
        return json.dumps(draft)[: -1 if fault == "no draft" else None]

    def _send(self, http: BaseHTTPRequestHandler, status: int, body: bytes, cut: bool = False) -> None:
        http.send_response(status)
        http.send_header("Content-Type", "application/json")
        http.send_header("Content-Length", str(len(body)))
        if status >= 400:
            http.send_header("Retry-After", str(self.retry_after))
        http.end_headers()
        with suppress(OSError):  # a client that was killed, or has waited long enough
            http.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            http.close_connection = True
