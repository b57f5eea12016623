"""How a composed model is spoken to: one chat template for every LLM, and its tokens around the audio."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

AUDIO = "<|audio|>"
# Plain text, since base models know no turns. The answer follows with a blank, a letter without.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}Audio:" + AUDIO + "\n\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\\nAnswer:' }}{% endif %}"
)


@dataclass(frozen=True)
class Frame:
    """Token ids before and behind what is heard."""

    before: list[int]
    after: list[int]


class Prompter:
    """Writes what the processor would write. ``tokenizer`` knows ``AUDIO`` as one token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._audio = tokenizer.convert_tokens_to_ids(AUDIO)

    def frame(self, request: str) -> Frame:
        """Of a request about a recording."""
        ids = self._tokenizer(self._written([{"type": "audio"}, {"type": "text", "text": request}]))["input_ids"]
        place = ids.index(self._audio)
        return Frame(ids[:place], ids[place + 1 :])

    def again(self, request: str) -> list[int]:
        """Of one more request about the same recording, behind an answer."""
        return self._tokenizer(self._written(f"\n\n{request}"), add_special_tokens=False)["input_ids"]

    def _written(self, content: str | list[dict]) -> str:
        return self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=CHAT_TEMPLATE,
            add_generation_prompt=True,
            tokenize=False,
        )

    def text(self, words: str) -> list[int]:
        """Of words that stand where audio would."""
        return self._tokenizer(f" {words}", add_special_tokens=False)["input_ids"]

    def answer(self, text: str, blank: bool = True) -> list[int]:
        """The answer's tokens and the end of the text; a letter comes without the blank."""
        ids = self._tokenizer(f" {text}" if blank else text, add_special_tokens=False)["input_ids"]
        return [*ids, self._tokenizer.eos_token_id]


def with_audio_token(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """``tokenizer`` with ``AUDIO`` as a token that text never becomes."""
    tokenizer.add_tokens([AUDIO], special_tokens=True)
    return tokenizer
