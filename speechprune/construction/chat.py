"""Calls of an OpenAI-compatible chat endpoint: paced, retried, within a budget, and every raw reply kept."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai
from pyrate_limiter import Duration, Limiter, Rate

from speechprune.common.endpoints import key_for, without_key
from speechprune.common.files import shown
from speechprune.construction.outcomes import EndpointError, Stopped
from speechprune.construction.reply_store import Replies
from speechprune.construction.spending import Budget, BudgetSpent, Price, estimate_tokens

_IN_A_ROW = 5  # calls that fail before the run is given up
_FATAL = (401, 403, 404)  # HTTP statuses that every other call would get, too


@dataclass(frozen=True)
class ChatOptions:
    """Which model, where, and how hard it is asked.

    Attributes:
        model: as the endpoint calls it.
        base_url: http or https, such as http://localhost:8000/v1; no key in it.
        price: dollars for a million tokens, "IN,OUT"; None for what is known of the model.
        max_cost: dollars that all runs of one folder together may spend; None for no cap.
        temperature: of sampling.
        max_tokens: of one reply.
        timeout: seconds without an answer.
        retries: of one call that fails on its way, with the client's backoff; Retry-After is obeyed.
        requests_per_minute: None for as many as there are.
        concurrent: calls at once.
    """

    model: str
    base_url: str
    price: str | None = None
    max_cost: float | None = None
    temperature: float = 1.0
    max_tokens: int = 4096
    timeout: float = 120.0
    retries: int = 6
    requests_per_minute: int | None = None
    concurrent: int = 8


class Chat:
    """One endpoint and one model, for several threads.

    Args:
        options: see there.
        replies: where every reply is kept and looked up.
    Raises:
        ValueError: no key in the environment where one is needed, one in ``base_url``, a cap without a price, ...
    """

    def __init__(self, options: ChatOptions, replies: Replies) -> None:
        self.options = options
        self.price = Price.of(options.model, options.price)
        self._key = key_for(options.base_url, "--base-url")
        if self.price is None and options.max_cost is not None:
            raise ValueError(
                f"--max-cost: the price of {options.model} is not known; give --price IN,OUT, or 0,0 for none"
            )
        self._client = openai.OpenAI(
            api_key=self._key or "none",  # a local endpoint wants none, the client one
            base_url=options.base_url,
            timeout=options.timeout,
            max_retries=options.retries,
        )
        self._replies = replies
        self._budget = Budget(options.max_cost, replies.spent)
        rate = options.requests_per_minute
        self._limiter = None if rate is None else Limiter(Rate(rate, Duration.MINUTE))
        self._lock = threading.Lock()
        self._failed_in_a_row = 0
        self._stopped: Exception | None = None

    @property
    def spent(self) -> float:
        """Dollars, of all replies that are kept."""
        return self._budget.spent

    def ask(self, call: str, messages: list[dict[str, str]], schema: Mapping[str, Any]) -> str:
        """The text of a reply; of one that was had before, without a call.

        Args:
            call: what it is for, such as lecture_0/1 for the second draft of a sample: calls of two names are two
                calls, although they say the same.
            messages: {"role", "content"} each.
            schema: JSON schema of the reply, which the endpoint is asked to hold to.
        Raises:
            ValueError: a reply came, and has no whole text: cut off, refused, no JSON of a chat.
            EndpointError: no reply came, after all retries.
            Stopped: no call will be made any more: the budget is spent, the key is refused, ...
        """
        named = {"name": "reply", "strict": True, "schema": schema}
        request = {
            "model": self.options.model,
            "messages": messages,
            "temperature": self.options.temperature,
            "max_completion_tokens": self.options.max_tokens,
            "response_format": {"type": "json_schema", "json_schema": named},
        }
        key = hashlib.sha256(json.dumps([call, self.options.base_url, request], sort_keys=True).encode()).hexdigest()
        kept = self._replies.get(key)
        if kept is None:
            kept = self._call(request, {"key": key, "call": call})
        return _text(kept["body"])

    def _call(self, request: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        given = sum(estimate_tokens(message["content"]) for message in request["messages"])
        reserved = self._cost(given, request["max_completion_tokens"])
        if self._stopped is not None:
            raise Stopped(str(self._stopped))
        try:
            self._budget.reserve(reserved)
        except BudgetSpent as error:
            raise Stopped(str(error)) from error
        dollars = 0.0
        try:
            if self._limiter is not None:
                self._limiter.try_acquire("call", blocking=True)
            body = self._post(request)
            tokens = _usage(body) or (given, estimate_tokens(body))
            dollars = self._cost(*tokens)
            row |= {"model": request["model"], "tokens": tokens, "dollars": round(dollars, 8), "body": body}
            self._replies.add(row)
            return row
        finally:
            self._budget.settle(reserved, dollars)

    def _post(self, request: dict[str, Any]) -> str:
        """The body of the reply as it came, without the key, should the endpoint echo it."""
        try:
            body = self._client.chat.completions.with_raw_response.create(**request).text
        except openai.APIStatusError as error:
            reason = f"{self.options.base_url} answered {error.status_code}: {self._shown(str(error.message))}"
            if error.status_code in _FATAL or error.code == "insufficient_quota":
                self._stopped = Stopped(reason)
                raise Stopped(str(self._stopped)) from None
            raise self._failure(reason) from None
        except openai.APIError as error:
            cause = error.__cause__ or error
            raise self._failure(f"{self.options.base_url}: {type(cause).__name__}: {self._shown(str(cause))}") from None
        with self._lock:
            self._failed_in_a_row = 0
        return without_key(body, self._key)

    def _failure(self, reason: str) -> EndpointError:
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _IN_A_ROW and self._stopped is None:
                self._stopped = Stopped(
                    f"{_IN_A_ROW} calls in a row failed, the last: {reason}; what is written is kept"
                )
        return EndpointError(reason)

    def _shown(self, text: str) -> str:
        return shown(without_key(text, self._key))  # in this order: of a key that is cut, a part would stay

    def _cost(self, given: int, written: int) -> float:
        return 0.0 if self.price is None else self.price.cost(given, written)


def _usage(body: str) -> tuple[int, int] | None:
    """(tokens in, tokens out) as the endpoint counts them; None where it does not say."""
    try:
        usage = json.loads(body)["usage"]
        return int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _text(body: str) -> str:
    try:
        choice = json.loads(body)["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"the reply is not that of a chat: {shown(body)}") from error
    if refusal:
        raise ValueError(f"the model refused: {shown(refusal)}")
    if reason == "length":
        raise ValueError("the reply was cut off at its longest; be shorter")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("the reply is empty")
    return text
