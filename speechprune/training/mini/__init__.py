"""The small speech LLM that ships with speechprune, and the program that trains it."""
