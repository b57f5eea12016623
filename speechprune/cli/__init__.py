"""The ``speechprune`` command. Heavy imports happen inside its bodies, so that --help is quick."""

from speechprune.cli import stages, tools, training
from speechprune.cli.base import main

__all__ = ["main", "stages", "tools", "training"]
