"""``python -m speechprune.cli``."""

from speechprune.cli import main

main(prog_name="speechprune")
