"""Dialogues by a large language model behind any OpenAI-compatible chat endpoint: OpenAI's, vLLM's, llama.cpp's, ...

API: https://platform.openai.com/docs/api-reference/chat, with structured outputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from speechprune.construction.chat import Chat
from speechprune.construction.checks import TOLERANCE
from speechprune.construction.drafts import Draft, parse_draft
from speechprune.construction.plan import Brief
from speechprune.construction.prompt_files import FAULTS, SAMPLE, SYSTEM, Prompts
from speechprune.construction.spending import estimate_tokens
from speechprune.construction.writers.base import Writer

_SEXES = {"F": "female", "M": "male"}
_FORM = {
    "lecture": "One speaker talks all the time: give one turn, or a few.",
    "meeting": "The speakers take turns of different lengths, interrupt and answer one another; each of them speaks.",
    "conversation": "The two speakers take turns of different lengths, and answer one another; both speak.",
}
_JSON = 1.5  # tokens of a reply for those of its words: names of fields, question and choices


class Endpoint(Writer):
    """A model behind an endpoint.

    Args:
        chat: calls it.
        prompts: what it is told.
        licence: of what it writes, for the dataset's card.
    """

    name = "endpoint"
    chats = True

    def __init__(self, chat: Chat, prompts: Prompts, licence: str) -> None:
        self.model, self.licence = chat.options.model, licence
        self.concurrent = chat.options.concurrent
        self.prompts = hashlib.sha256("\0".join(prompts.texts.values()).encode()).hexdigest()[:16]
        self._chat, self._texts = chat, prompts

    def draft(self, brief: Brief, attempt: int, faults: Sequence[str] = ()) -> Draft:
        messages = self._messages(brief, attempt, faults)
        return parse_draft(self._chat.ask(f"{brief.id}/{attempt}", messages, Draft.model_json_schema()))

    def estimate(self, briefs: Sequence[Brief]) -> str:
        """What writing these will take, roughly, if every first draft is good: one line."""
        messages = [message["content"] for brief in briefs for message in self._messages(brief, 0, ())]
        given = sum(map(estimate_tokens, messages))
        written = round(sum(_JSON * estimate_tokens("x " * brief.words) for brief in briefs))
        tokens = f"{len(briefs)} samples by {self.model}: about {given} tokens in and {written} out"
        if self._chat.price is None:
            return f"{tokens}; the price is not known (--price)"
        cost = f"${self._chat.price.cost(given, written):.2f}, more where drafts have to be written again"
        return f"{tokens}, {cost}; spent so far: ${self._chat.spent:.4f}"

    def _messages(self, brief: Brief, attempt: int, faults: Sequence[str]) -> list[dict[str, str]]:
        listed = "".join(f"- {fault}\n" for fault in faults)
        text = self._texts.fill(
            SAMPLE,
            scenario=brief.scenario,
            topic=brief.topic,
            subtopic=brief.subtopic,
            speakers=", ".join(f"{name} ({_SEXES[sex]})" for name, sex in brief.speakers.items()),
            words=brief.words,
            least=round(brief.words * (1 - TOLERANCE)),
            most=round(brief.words * (1 + TOLERANCE)),
            turns=_FORM[brief.scenario],
            spoken=brief.spoken,
            longest="the answer" if brief.longest else "not the answer",
            schema=json.dumps(Draft.model_json_schema()),
            faults=self._texts.fill(FAULTS, faults=listed) if attempt else "",
        )
        return [{"role": "system", "content": self._texts.fill(SYSTEM)}, {"role": "user", "content": text}]
