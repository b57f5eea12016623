"""Defaults that several doors into the library offer, each written here alone. Nothing is imported, so that the
command line can show them at once."""

from __future__ import annotations

# How a recording is asked about.
PRUNER = "speechprune"
RATE = 0.4
QUERY = "question+choices"
SEED = 0
ASK_MODES = ("logprob", "cloze")  # of ``decoding.modes``, those that say how likely each choice is; the first is usual

# How a benchmark is written: by whom, where that is asked for, and of how many seconds a recording shall be.
WRITER = "grammar"
CHAT_MODEL = "gpt-4o"
CHAT_URL = "https://api.openai.com/v1"
SECONDS = "60,120"
# How it is spoken: by which engine, and how loud a sentence is, dB below full scale (EBU R 128's figure).
TTS = "espeak"
LEVEL = -23.0

# Qwen2-Audio's, and the paper's: audio tokens per second, and of one window of 30 s.
FRAME_RATE = 25.0
WINDOW = 750
# The paper's prompt with question and choices: Table I counts L = 857 tokens at 750 audio tokens.
TEXT_TOKENS = 107

# Who writes recordings down: the largest Whisper, any name or folder will do.
ASR = "openai/whisper-large-v3"
