"""Stage 3: audio tokens and systems -> hypotheses."""
