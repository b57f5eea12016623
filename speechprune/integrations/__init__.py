"""Pruned audio inside other programs: around stock models of transformers, in lmms-eval, for vLLM."""
