"""Text to speak that is nobody's test set: random words by frequency, and passages that an LLM itself writes."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from speechprune.common.files import append_lines, open_append, read_jsonl
from speechprune.training.composed.config import TextConfig

_TOPICS = """cooking, gardening, astronomy, banking, football, hiking, nursing, surgery, geology, law, painting, jazz,
photography, the history of Rome, chemistry, software testing, train travel, planning a wedding, repairing a house,
car insurance, marine biology, a school budget, public libraries, marketing, recycling, farm animals, the theatre, job
interviews, the climate, vaccines, a museum tour, chess, learning a language, a mortgage, fishing, robots, coffee,
airports, a hospital's schedule, university admission, poetry, bicycles, architecture, sleep, nutrition, taxes, an
election, volcanoes, fashion, video games, the dentist, dogs, a hotel booking, physics experiments, economics, ancient
Egypt, birds, data privacy, shipping, factory safety, a birthday, films, the neighbours, moving house, a lost suitcase,
the weather, music lessons, running, psychology, a new product, customer complaints, social media, a research grant,
solar power, traffic, childhood memories, the stock market, a book club, artificial intelligence"""
TOPICS = tuple(" ".join(topic.split()) for topic in _TOPICS.split(","))
_FORMS = (
    "Write a friendly conversation between {a} and {b} about {t}.",
    "Write down, word by word, what {a} and {b} say to each other on the phone about {t}.",
    "Write the beginning of a lecture about {t}, word by word, as the professor speaks.",
    "Write down, word by word, what is said in a meeting of {a}, {b} and {c} about {t}.",
    "Write a short story about {t}.",
    "{a} is interviewed by {b} about {t}. Write it down word by word.",
    "Tell me some surprising facts about {t}.",
)
_NAMES = """Anna, Ben, Carla, David, Emma, Frank, Grace, Henry, Irene, Jack, Kate, Leo, Maria, Nina, Oscar, Paul, Rosa,
Sam, Tina, Victor, Wendy"""
NAMES = tuple(_NAMES.replace(",", " ").split())
_SPOKEN = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*[,;:]?")
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_WORDS = (3, 30)  # of a sentence that is kept
_DEV_SHARE = 20  # one passage in so many is for development


class RandomWords:
    """Words without sense, drawn with probability frequency ** 0.6, so that rare words are heard too."""

    def __init__(self, size: int = 30_000) -> None:
        from wordfreq import top_n_list, word_frequency

        found = [w for w in top_n_list("en", size) if re.fullmatch("[a-z]+('[a-z]+)?", w) and (len(w) > 1 or w in "ai")]
        weights = np.array([word_frequency(word, "en") for word in found]) ** 0.6
        self._words = ["I" + word[1:] if re.fullmatch("i('.*)?", word) else word for word in found]
        self._cumulative = np.cumsum(weights / weights.sum())

    def utterance(self, rng: random.Random) -> str:
        """4 to 14 words, the first with a capital letter, a full stop at the end."""
        text = " ".join(self._draw(rng) for _ in range(rng.randint(4, 14)))
        return text[0].upper() + text[1:] + "."

    def exchange(self, rng: random.Random, sentence: str, share: float) -> str:
        """``sentence`` with about ``share`` of its words exchanged for random ones; the first stays."""
        words = sentence.split()
        for k in range(1, len(words)):
            if rng.random() < share:
                words[k] = self._draw(rng) + words[k][len(words[k].rstrip(".,;:?!")) :]
        return " ".join(words)

    def _draw(self, rng: random.Random) -> str:
        place = int(np.searchsorted(self._cumulative, rng.random()))
        return self._words[min(place, len(self._words) - 1)]


def sentences(text: str) -> list[str]:
    """The sentences of ``text`` that can be spoken as they are written: words alone, 3 to 30 of them.

    Names of speakers before a colon are left out; a sentence with digits, symbols or brackets is dropped whole, since
    what a synthesiser makes of them is not what stands there.
    """
    kept = []
    for line in text.splitlines():
        line = re.sub(r"^\W*(?:[A-Z][A-Za-z.]*[ ]?){1,3}:\s*", "", line.strip().translate(_PLAIN))
        for sentence in re.split(r"(?<=[.?!])[\"']?\s+", line):
            sentence = sentence.strip("\"' *-")
            words = sentence.rstrip(".?!").split()
            whole = sentence[-1:] in (".", "?", "!") and all(map(_SPOKEN.fullmatch, words))
            if whole and _WORDS[0] <= len(words) <= _WORDS[1]:
                kept.append(sentence)
    return kept


def read_passages(paths: Sequence[Path], dev: bool) -> list[list[str]]:
    """Passages, each a list of sentences in order, of ``.jsonl`` files as ``write_passages`` makes or of plain texts.

    A plain text's passages are separated by blank lines. Which passages are for development, a hash decides.

    Raises:
        FileNotFoundError: a file is not there. ValueError: no sentence in any of them.
    """
    found: list[list[str]] = []
    for path in paths:
        if path.suffix == ".jsonl":
            found += [row["sentences"] for row in read_jsonl(path, [])]
        else:
            found += [sentences(" ".join(part.split())) for part in path.read_text(encoding="utf-8").split("\n\n")]
    chosen = [p for p in found if p and (zlib.crc32(" ".join(p).encode()) % _DEV_SHARE == 0) == dev]
    if not chosen:
        raise ValueError(f"{', '.join(map(str, paths))}: no {'development' if dev else 'training'} sentence in it")
    return chosen


def write_passages(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path, config: TextConfig, seed: int
) -> None:
    """Let the LLM write until ``path`` holds ``config.llm_words`` words; goes on where a killed run stopped.

    Raises:
        ValueError: what it writes is no English prose.
    """
    rows = list(read_jsonl(path, [])) if path.is_file() else []
    done = sum(_count(row) for row in rows)
    number = 1 + max((row["batch"] for row in rows), default=-1)
    tokenizer.padding_side = "left"
    with open_append(path) as handle, tqdm(total=config.llm_words, initial=done, desc="text", unit="word") as bar:
        while done < config.llm_words:
            rng = random.Random(f"{seed}/{number}")
            torch.manual_seed(zlib.crc32(f"{seed}/{number}".encode()))
            written = [sentences(text) for text in _write(model, tokenizer, rng, config)]
            new = [{"batch": number, "sentences": kept} for kept in written if kept]
            if not new:
                raise ValueError(
                    f"the LLM wrote {config.batch} texts without a sentence that can be spoken; give --text FILE and "
                    "set text.llm_words to 0"
                )
            append_lines(handle, new)
            gained = sum(map(_count, new))
            done, number = done + gained, number + 1
            bar.update(gained)


def _count(row: dict) -> int:
    return sum(len(sentence.split()) for sentence in row["sentences"])


@torch.inference_mode()
def _write(model, tokenizer, rng: random.Random, config: TextConfig) -> list[str]:
    orders = []
    for _ in range(config.batch):
        a, b, c = rng.sample(NAMES, 3)
        orders.append(rng.choice(_FORMS).format(a=a, b=b, c=c, t=rng.choice(TOPICS)))
    if tokenizer.chat_template:
        chats = [[{"role": "user", "content": order}] for order in orders]
        orders = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    else:  # a base model goes on writing
        orders = [order + "\n\n" for order in orders]
    inputs = tokenizer(orders, return_tensors="pt", padding=True, add_special_tokens=not tokenizer.chat_template)
    inputs = inputs.to(model.device)
    out = model.generate(
        **inputs,
        max_new_tokens=config.max_new_tokens,
        do_sample=True,
        temperature=1.0,
        top_p=0.95,
        repetition_penalty=1.1,
    )
    return tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
