"""A speech LLM composed of published parts: a Whisper encoder and a causal LLM, joined by what is trained here."""
