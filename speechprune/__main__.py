"""``python -m speechprune``."""

from speechprune.cli import main

main(prog_name="speechprune")
