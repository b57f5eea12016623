"""A sentencepiece vocabulary as a Hugging Face tokenizer and Qwen2-Audio processor.

Pieces are case-folded; the answer letters A-D, standing alone, keep their case and are tokens of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2AudioProcessor, WhisperFeatureExtractor

AUDIO, AUDIO_BOS, AUDIO_EOS = "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"
SILENCE, ANSWER, END = "<|silence|>", "<|answer|>", "<|end|>"
SPECIAL = (AUDIO, AUDIO_BOS, AUDIO_EOS, SILENCE, ANSWER, END)
LETTERS = ("A", "B", "C", "D")
PUNCTUATION = ".,?!'-"

# The blank behind the audio makes the text's first word tokenise as it does inside a text.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}" + AUDIO_BOS + AUDIO + AUDIO_EOS + " {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}" + ANSWER + "{% endif %}"
)


def train_sentencepiece(texts: Iterable[str], model_file: Path, vocab_size: int) -> None:
    """Train a case-folding BPE vocabulary on the words of ``texts``; writes ``model_file``, a sentencepiece model.

    ``vocab_size`` is an upper limit: a small closed vocabulary runs out of merges earlier.
    """
    counts = Counter(word.strip(PUNCTUATION) for text in texts for word in text.split())
    # Every word a few times, however rare, so that the merges reach whole words where the budget allows.
    lines = [word for word, n in sorted(counts.items()) if word for _ in range(4 + min(n, 40))]
    model_file.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "model_type": "bpe",
        "normalization_rule_name": "nmt_nfkc_cf",
        "character_coverage": 1.0,
        "byte_fallback": True,
        "required_chars": PUNCTUATION,
        "unk_id": 0,
        "bos_id": -1,
        "eos_id": -1,
        "pad_id": -1,
        "num_threads": 1,
        "user_defined_symbols": [],
        "minloglevel": 2,
    }
    while True:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_prefix=str(model_file.with_suffix("")),
                vocab_size=vocab_size,
                **options,
            )
        except RuntimeError as error:  # sentencepiece names the largest possible size: "... value <= 1234."
            if "<=" not in str(error):
                raise
            vocab_size = int(str(error).rsplit("<=", 1)[1].strip(" .\n"))
        else:
            model_file.with_suffix(".vocab").unlink(missing_ok=True)
            return


def build_processor(model_file: Path, mel_bins: int) -> Qwen2AudioProcessor:
    """The processor of a sentencepiece model: its BPE as a fast tokenizer, Whisper features, the chat template."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model_file.read_bytes())
    vocab = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    # sentencepiece merges the pair whose result has the best score; the vocabulary is in that order.
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in sorted(vocab.items(), key=lambda item: item[1])
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab and not piece.startswith("<0x")
    ]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, single_word=True, lstrip=True, normalized=False) for t in LETTERS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token=END, eos_token=END)  # noqa: S106
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    return Qwen2AudioProcessor(
        extractor,
        fast,
        chat_template=CHAT_TEMPLATE,
        audio_token=AUDIO,
        audio_bos_token=AUDIO_BOS,
        audio_eos_token=AUDIO_EOS,
    )
