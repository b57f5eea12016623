"""Speech LLMs that are trained here."""
